// Large results land on fresh pages at every call; faulting them in 4 KiB at a time can cost more
// than the arithmetic.
#pragma once

#include <cstddef>

namespace scnp::cpu {

// Asks for transparent huge pages under freshly allocated memory, where the system allows it.
// A hint: nothing depends on the answer, and memory that is in use already keeps its contents.
void prefer_huge_pages(void* data, size_t bytes);

}  // namespace scnp::cpu
