//! Export and import of complete channels, as records. docs/reference/export.md describes the lines that hold them.
//!
//! | file | content |
//! | --- | --- |
//! | `record.rs` | the records |
//! | `progress.rs` | the position in an export that was interrupted |
//! | `export.rs` | the records of a channel |
//! | `import.rs` | a channel from its records |
//!
//! An export has the state of channels, members and messages, and nothing of the deployment that they come from. So an
//! export of an import equals the first export, byte by byte. It leaves out invitations, drafts, records of requests and
//! of changes, and trace contexts.

mod export;
mod import;
mod progress;
mod record;
#[cfg(test)]
mod tests;

pub use self::{
    export::{ExportError, export_channel},
    import::{Existing, Import, ImportError, ImportState, ImportedChannel},
    progress::{After, ExportPosition, ExportProgress},
    record::{
        ChannelRecord, Counts, Header, MemberRecord, MessageRecord, ReactionRecord, Record, RecordError, VERSION,
    },
};

/// Number of members or messages of one read.
const PAGE: u16 = 100;

/// Number of members and messages of one write.
const IMPORT_PAGE: usize = 250;
