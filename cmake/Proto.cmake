find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

# legated_proto(TARGET PROTO [GRPC] [ROOT FOLDER])
#
# Makes the static library TARGET of the C++ code that protoc makes of PROTO (NAME.proto) in the
# build folder: `#include "NAME.pb.h"`, and with GRPC `#include "NAME.grpc.pb.h"`. With ROOT the file
# is known to protobuf, and included, by its path within that folder.
function(legated_proto target proto)
  cmake_parse_arguments(PARSE_ARGV 2 arg "GRPC" "ROOT" "")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "legated_proto: unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  cmake_path(ABSOLUTE_PATH proto)
  cmake_path(GET proto PARENT_PATH source_folder)
  if(arg_ROOT)
    cmake_path(ABSOLUTE_PATH arg_ROOT OUTPUT_VARIABLE source_folder)
  endif()
  cmake_path(RELATIVE_PATH proto BASE_DIRECTORY "${source_folder}" OUTPUT_VARIABLE name)
  cmake_path(REMOVE_EXTENSION name)
  # A folder for each target: protos of different folders may share a name.
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/generated/${target}")
  file(MAKE_DIRECTORY "${folder}")

  set(outputs "${folder}/${name}.pb.cc" "${folder}/${name}.pb.h")
  set(options "--cpp_out=${folder}")
  set(libraries protobuf::libprotobuf)
  if(arg_GRPC)
    list(APPEND outputs "${folder}/${name}.grpc.pb.cc" "${folder}/${name}.grpc.pb.h")
    list(APPEND options "--grpc_out=${folder}" "--plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN}")
    list(APPEND libraries gRPC::grpc++)
  endif()

  add_custom_command(
    OUTPUT ${outputs}
    COMMAND protobuf::protoc "--proto_path=${source_folder}" ${options} "${proto}"
    DEPENDS "${proto}" protobuf::protoc "${GRPC_CPP_PLUGIN}"
    COMMENT "Generating C++ from ${name}.proto"
    VERBATIM)

  add_library(${target} STATIC ${outputs})
  target_include_directories(${target} SYSTEM PUBLIC "${folder}")
  target_link_libraries(${target} PUBLIC ${libraries})
endfunction()
