// What a kernel needs of CuPy's header of this name.
#pragma once
#include "../cuda_fp16.h"
