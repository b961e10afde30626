// What kernels share.
#pragma once

#include "target.cuh"
