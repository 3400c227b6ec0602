/* A stand-in for Lean's lean.h: what legate_shim.c uses of it, with the names and types of the real one and objects
 * that are just good enough to be looked at. Errors and results of IO are told apart by `kind`. */
#ifndef LEAN_STAND_IN_H
#define LEAN_STAND_IN_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LEAN_EXPORT

enum Kind { kConstructor, kArray, kBytes, kString, kExternal, kError, kOk, kFailed };

struct lean_object;
typedef struct {
  void (*finalize)(void *);
  void (*visit)(void *, struct lean_object *);
} lean_external_class;

typedef struct lean_object {
  enum Kind kind;
  unsigned tag;                /* of a constructor; errno of an error */
  size_t size;                 /* elements of an array, bytes of a string */
  struct lean_object **fields; /* of constructors, arrays, errors and results */
  char *bytes;
  void *data;
  lean_external_class *type;
} lean_object;

typedef lean_object *lean_obj_arg;
typedef lean_object *b_lean_obj_arg;
typedef lean_object *lean_obj_res;
typedef lean_object *b_lean_obj_res;

lean_object *lean_box(size_t n);
size_t lean_unbox(lean_object *o);
int lean_is_scalar(lean_object *o);

lean_obj_res lean_alloc_ctor(unsigned tag, unsigned fields, unsigned scalar_size);
void lean_ctor_set(b_lean_obj_arg o, unsigned i, lean_obj_arg v);

lean_obj_res lean_alloc_sarray(unsigned element_size, size_t size, size_t capacity);
size_t lean_sarray_size(b_lean_obj_arg o);
uint8_t *lean_sarray_cptr(b_lean_obj_arg o);
size_t lean_array_size(b_lean_obj_arg o);
b_lean_obj_res lean_array_get_core(b_lean_obj_arg o, size_t i);
lean_obj_res lean_mk_string(const char *text);
const char *lean_string_cstr(b_lean_obj_arg o);

lean_external_class *lean_register_external_class(void (*finalize)(void *), void (*visit)(void *, b_lean_obj_arg));
lean_obj_res lean_alloc_external(lean_external_class *type, void *data);
void *lean_get_external_data(b_lean_obj_arg o);

lean_obj_res lean_mk_io_error_other_error(uint32_t code, lean_obj_arg details);
lean_obj_res lean_io_result_mk_ok(lean_obj_arg value);
lean_obj_res lean_io_result_mk_error(lean_obj_arg error);

/* For the tests alone: the runtime counts references instead. */
lean_obj_res stand_in_array(size_t size);
void stand_in_free(lean_obj_arg o); /* with all it holds */

#ifdef __cplusplus
}
#endif

#endif
