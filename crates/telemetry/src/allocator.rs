//! The allocator of every function. musl's allocator in the images takes a lock for every allocation and frees memory
//! immediately. glibc's allocator in a local run is slower too. It is in this crate because every function links it.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
