# legated_warnings: link it PRIVATE into every target of hand-written code. Generated code goes
# without, and is included as a system header, see Flatbuffers.cmake and Proto.cmake.
add_library(legated_warnings INTERFACE)
target_compile_options(legated_warnings INTERFACE
  -Wall -Wextra -Wpedantic
  -Wconversion -Wsign-conversion
  -Wshadow
  -Wold-style-cast -Wcast-qual -Wcast-align
  -Wnon-virtual-dtor -Woverloaded-virtual
  -Wimplicit-fallthrough -Wformat=2 -Wundef -Wextra-semi)

# GCC 12 sees overlapping copies in std::string's operator+ where there are none (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(legated_warnings INTERFACE -Wno-restrict)
endif()

if(LEGATED_WERROR)
  target_compile_options(legated_warnings INTERFACE -Werror)
endif()
