//! The allocator of the images' binaries. musl's own takes one lock for every allocation and gives memory back at once;
//! elsewhere the system's is good. It stands in this crate because every function links it.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
