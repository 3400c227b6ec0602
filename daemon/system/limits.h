#pragma once
// What the operating system allows the process.

namespace legated {

/// Raises the soft limit of open files to the hard one: the soft one is 1,024 where nobody has set it,
/// for programs that use select(), and a connection takes up to two. At start.
void raise_descriptor_limit();

}  // namespace legated
