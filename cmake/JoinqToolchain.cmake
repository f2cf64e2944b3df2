# Compiler settings shared by every target of the project.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")

add_compile_options(-Wall -Wextra -fno-omit-frame-pointer)
# Release builds keep assertions: a broken invariant stops the program.
string(REPLACE "-DNDEBUG" "" CMAKE_CXX_FLAGS_RELEASE "${CMAKE_CXX_FLAGS_RELEASE}")
string(REPLACE "-DNDEBUG" "" CMAKE_CXX_FLAGS_RELWITHDEBINFO "${CMAKE_CXX_FLAGS_RELWITHDEBINFO}")

if(JOINQ_SANITIZE)
  add_compile_options(-fsanitize=${JOINQ_SANITIZE} -O1)
  add_link_options(-fsanitize=${JOINQ_SANITIZE})
  if(JOINQ_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

find_program(JOINQ_CCACHE ccache)
if(JOINQ_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${JOINQ_CCACHE})
endif()
find_program(JOINQ_MOLD mold)
if(JOINQ_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
