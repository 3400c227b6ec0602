#include "lean/lean.h"

#include <stdlib.h>
#include <string.h>

lean_object *lean_box(size_t n) { return (lean_object *)(uintptr_t)(n << 1 | 1); }
size_t lean_unbox(lean_object *o) { return (uintptr_t)o >> 1; }
int lean_is_scalar(lean_object *o) { return (int)((uintptr_t)o & 1); }

static lean_object *make(enum Kind kind, size_t fields) {
  lean_object *o = calloc(1, sizeof *o);
  if (o == NULL) abort();
  o->kind = kind;
  if (fields == 0) return o;
  o->size = fields;
  o->fields = calloc(fields, sizeof(lean_object *));
  if (o->fields == NULL) abort();
  return o;
}

static lean_object *make_bytes(enum Kind kind, size_t size) {
  lean_object *o = make(kind, 0);
  o->size = size;
  o->bytes = malloc(size + 1);
  if (o->bytes == NULL) abort();
  o->bytes[size] = '\0';
  return o;
}

static lean_object *make_around(enum Kind kind, lean_object *inner) {
  lean_object *o = make(kind, 1);
  o->fields[0] = inner;
  return o;
}

static void expect(lean_object *o, enum Kind kind) {
  if (lean_is_scalar(o) || o->kind != kind) abort();
}

lean_obj_res lean_alloc_ctor(unsigned tag, unsigned fields, unsigned scalar_size) {
  if (scalar_size != 0) abort();
  lean_object *o = make(kConstructor, fields);
  o->tag = tag;
  return o;
}

void lean_ctor_set(b_lean_obj_arg o, unsigned i, lean_obj_arg v) {
  expect(o, kConstructor);
  if (i >= o->size) abort();
  o->fields[i] = v;
}

lean_obj_res lean_alloc_sarray(unsigned element_size, size_t size, size_t capacity) {
  if (element_size != 1 || capacity < size) abort();
  return make_bytes(kBytes, size);
}

size_t lean_sarray_size(b_lean_obj_arg o) {
  expect(o, kBytes);
  return o->size;
}

uint8_t *lean_sarray_cptr(b_lean_obj_arg o) {
  expect(o, kBytes);
  return (uint8_t *)o->bytes;
}

size_t lean_array_size(b_lean_obj_arg o) {
  expect(o, kArray);
  return o->size;
}

b_lean_obj_res lean_array_get_core(b_lean_obj_arg o, size_t i) {
  expect(o, kArray);
  if (i >= o->size) abort();
  return o->fields[i];
}

lean_obj_res lean_mk_string(const char *text) {
  lean_object *o = make_bytes(kString, strlen(text));
  memcpy(o->bytes, text, o->size);
  return o;
}

const char *lean_string_cstr(b_lean_obj_arg o) {
  expect(o, kString);
  return o->bytes;
}

lean_external_class *lean_register_external_class(void (*finalize)(void *), void (*visit)(void *, b_lean_obj_arg)) {
  static lean_external_class type; /* one is all the shim registers */
  if (type.finalize != NULL) abort();
  type.finalize = finalize;
  type.visit = visit;
  return &type;
}

lean_obj_res lean_alloc_external(lean_external_class *type, void *data) {
  lean_object *o = make(kExternal, 0);
  o->type = type;
  o->data = data;
  return o;
}

void *lean_get_external_data(b_lean_obj_arg o) {
  expect(o, kExternal);
  return o->data;
}

lean_obj_res lean_mk_io_error_other_error(uint32_t code, lean_obj_arg details) {
  expect(details, kString);
  lean_object *o = make_around(kError, details);
  o->tag = code;
  return o;
}

lean_obj_res lean_io_result_mk_ok(lean_obj_arg value) { return make_around(kOk, value); }

lean_obj_res lean_io_result_mk_error(lean_obj_arg error) {
  expect(error, kError);
  return make_around(kFailed, error);
}

lean_obj_res stand_in_array(size_t size) { return make(kArray, size); }

void stand_in_free(lean_obj_arg o) {
  if (lean_is_scalar(o)) return;
  if (o->kind == kExternal) o->type->finalize(o->data);
  for (size_t i = 0; o->fields != NULL && i < o->size; ++i) stand_in_free(o->fields[i]);
  free(o->fields);
  free(o->bytes);
  free(o);
}
