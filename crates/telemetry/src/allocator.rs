//! The allocator of every function. musl's own, in the images, takes one lock for every allocation and gives memory back at
//! once; glibc's, in a local run, is slower than this one too. It stands in this crate because every function links it.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
