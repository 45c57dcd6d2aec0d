# Given to llama.cpp's own CMakeLists.txt as CMAKE_PROJECT_llama.cpp_INCLUDE: what llama-server needs, and where optimising pays.

# Its other tools are two dozen programs that nothing here runs.
macro(add_subdirectory folder)
    if(NOT "${CMAKE_CURRENT_SOURCE_DIR}" MATCHES "/llama.cpp/tools$" OR "${folder}" MATCHES "^(ui|mtmd|server)$")
        _add_subdirectory(${folder} ${ARGN})
    endif()
endmacro()

# CMAKE_ARGS gives -O1 to all C++, which saves 30 % of the build; the arithmetic and the sampler get what upstream gives them.
function(optimise)
    foreach(target ggml ggml-base ggml-cpu llama)
        target_compile_options(${target} PRIVATE -O3)
    endforeach()
endfunction()
cmake_language(DEFER CALL optimise)
