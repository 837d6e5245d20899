//! A function that does nothing: the baseline of the functions' overhead.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        #[cfg(feature = "count-allocations")]
        {
            // Has the format of the functions' own lines: see `telemetry`.
            let stats = ALLOCATOR.stats();
            let (count, bytes) = (stats.allocations + stats.reallocations, stats.bytes_allocated);
            println!("allocations {} {count} {bytes}", std::process::id());
        }
        drop(event);
        Ok::<_, Error>(Value::Null)
    }))
    .await
}
