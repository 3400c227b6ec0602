# With LEGATED_FUZZ everything is compiled for libFuzzer, with the address and undefined-behaviour
# sanitizers; `fuzzers` builds the targets that legated_fuzzer() makes.
set(LEGATED_FUZZ_SECONDS 20 CACHE STRING "How long each fuzz target runs as a test, in seconds")

if(LEGATED_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "LEGATED_FUZZ needs clang; use the preset `fuzz`")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
  add_custom_target(fuzzers)
endif()

# legated_fuzzer(TARGET SOURCE CORPUS LIBRARY...)
#
# Makes the fuzz target TARGET, and the test of the same name, labelled `fuzz`: it runs every input
# of the folder CORPUS, then looks for new ones for LEGATED_FUZZ_SECONDS. What it finds goes to the
# build folder, a crash's input too. Does nothing without LEGATED_FUZZ.
function(legated_fuzzer target source corpus)
  if(NOT LEGATED_FUZZ)
    return()
  endif()
  cmake_path(ABSOLUTE_PATH corpus)
  add_executable(${target} "${source}")
  target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${target} PRIVATE ${ARGN} legated_warnings)
  add_dependencies(fuzzers ${target})

  set(found "${CMAKE_CURRENT_BINARY_DIR}/${target}-found")
  file(MAKE_DIRECTORY "${found}")
  add_test(NAME ${target}
           COMMAND ${target} -max_total_time=${LEGATED_FUZZ_SECONDS} -timeout=5 -rss_limit_mb=2048
                   -print_final_stats=1 "-artifact_prefix=${found}/crash-" "${found}" "${corpus}")
  math(EXPR limit "${LEGATED_FUZZ_SECONDS} + 120")
  set_tests_properties(${target} PROPERTIES LABELS fuzz TIMEOUT ${limit})
endfunction()
