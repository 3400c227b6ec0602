# Applies LEGATED_SANITIZE to everything that is built. The libraries from Debian stay as they are.
if(LEGATED_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(LEGATED_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
  add_library(legated_tsan_grpc OBJECT "${CMAKE_CURRENT_LIST_DIR}/tsan_grpc.cc")
  link_libraries("$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:legated_tsan_grpc>")
elseif(NOT LEGATED_SANITIZE STREQUAL "")
  message(FATAL_ERROR "LEGATED_SANITIZE is \"${LEGATED_SANITIZE}\"; it can be empty, address or thread")
endif()
