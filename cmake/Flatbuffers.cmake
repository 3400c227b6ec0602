find_program(FLATC flatc REQUIRED)

# legated_flatbuffers(TARGET SCHEMA)
#
# Makes the INTERFACE library TARGET, through which `#include "NAME_generated.h"` finds the C++ code
# that flatc makes of SCHEMA (NAME.fbs) in the build folder.
function(legated_flatbuffers target schema)
  cmake_path(ABSOLUTE_PATH schema)
  cmake_path(GET schema STEM name)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/generated")
  set(header "${folder}/${name}_generated.h")

  add_custom_command(
    OUTPUT "${header}"
    COMMAND "${FLATC}" --cpp --scoped-enums --gen-object-api --reflect-types --reflect-names -o "${folder}" "${schema}"
    DEPENDS "${schema}" "${FLATC}"
    COMMENT "Generating ${name}_generated.h"
    VERBATIM)
  add_custom_target(${target}_generate DEPENDS "${header}")

  add_library(${target} INTERFACE)
  add_dependencies(${target} ${target}_generate)
  target_include_directories(${target} SYSTEM INTERFACE "${folder}")
  target_link_libraries(${target} INTERFACE flatbuffers::flatbuffers_shared)
endfunction()
