//! The page's files, embedded in the binary.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

/// One file of the page.
#[derive(Debug)]
pub(super) struct Asset {
    /// Path on the server.
    pub(super) path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

impl Asset {
    pub(super) fn response(&self) -> Response {
        ([(header::CONTENT_TYPE, self.content_type)], self.body).into_response()
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const FONT: &str = "font/woff2";
const TEXT: &str = "text/plain; charset=utf-8";

/// Creates an asset with the same path as in `clients/web/`.
macro_rules! asset {
    ($file:literal, $content_type:expr) => {
        Asset {
            path: concat!("/", $file),
            content_type: $content_type,
            body: include_bytes!(concat!("../../../../clients/web/", $file)),
        }
    };
}

/// Creates an asset of the client's code. The page imports `../js/src/…`, which is the same path in a browser and on disk.
macro_rules! client {
    ($file:literal) => {
        Asset {
            path: concat!("/js/src/", $file),
            content_type: SCRIPT,
            body: include_bytes!(concat!("../../../../clients/js/src/", $file)),
        }
    };
}

/// All files of the page.
pub(super) static ALL: &[Asset] = &[
    Asset { path: "/", content_type: HTML, body: include_bytes!("../../../../clients/web/index.html") },
    asset!("style.css", CSS),
    asset!("people.css", CSS),
    asset!("journey.css", CSS),
    asset!("messages.css", CSS),
    asset!("favicon.svg", SVG),
    asset!("app.js", SCRIPT),
    client!("actions.js"),
    client!("changes.js"),
    client!("channel-list.js"),
    client!("channel.js"),
    client!("channels.js"),
    client!("client.js"),
    client!("connections.js"),
    client!("drafts.js"),
    client!("errors.js"),
    client!("growth.js"),
    client!("index.js"),
    client!("limits.js"),
    client!("people.js"),
    client!("problems.js"),
    client!("rest.js"),
    client!("sender.js"),
    client!("socket.js"),
    client!("store.js"),
    client!("stores.js"),
    client!("threads.js"),
    client!("time.js"),
    client!("types.js"),
    asset!("archived.js", SCRIPT),
    asset!("composer.js", SCRIPT),
    asset!("create.js", SCRIPT),
    asset!("dialogs.js", SCRIPT),
    asset!("directory.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("edit.js", SCRIPT),
    asset!("emoji.js", SCRIPT),
    asset!("finder.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("host.js", SCRIPT),
    asset!("identity.js", SCRIPT),
    asset!("invitations.js", SCRIPT),
    asset!("journey.js", SCRIPT),
    asset!("markdown.js", SCRIPT),
    asset!("members.js", SCRIPT),
    asset!("message-actions.js", SCRIPT),
    asset!("message-menu.js", SCRIPT),
    asset!("messages.js", SCRIPT),
    asset!("motion.js", SCRIPT),
    asset!("page.js", SCRIPT),
    asset!("people.js", SCRIPT),
    asset!("picker.js", SCRIPT),
    asset!("popover.js", SCRIPT),
    asset!("presence.js", SCRIPT),
    asset!("problem.js", SCRIPT),
    asset!("quotes.js", SCRIPT),
    asset!("reactions.js", SCRIPT),
    asset!("roles.js", SCRIPT),
    asset!("rooms.js", SCRIPT),
    asset!("roving.js", SCRIPT),
    asset!("scroller.js", SCRIPT),
    asset!("search.js", SCRIPT),
    asset!("settings-values.js", SCRIPT),
    asset!("settings.js", SCRIPT),
    asset!("sheet.js", SCRIPT),
    asset!("shortcuts.js", SCRIPT),
    asset!("sidebar.js", SCRIPT),
    asset!("texts.js", SCRIPT),
    asset!("theme.js", SCRIPT),
    asset!("thread-panel.js", SCRIPT),
    asset!("thread.js", SCRIPT),
    asset!("timeline.js", SCRIPT),
    asset!("traces.js", SCRIPT),
    asset!("view.js", SCRIPT),
    asset!("waterfall.js", SCRIPT),
    asset!("welcome.js", SCRIPT),
    asset!("vendor/markdown-it.mjs", SCRIPT),
    asset!("vendor/markdown-it.LICENSE", TEXT),
    asset!("vendor/dompurify.mjs", SCRIPT),
    asset!("vendor/dompurify.LICENSE", TEXT),
    asset!("vendor/instrument-sans-latin.woff2", FONT),
    asset!("vendor/instrument-sans-latin-ext.woff2", FONT),
    asset!("vendor/instrument-sans-latin-italic.woff2", FONT),
    asset!("vendor/instrument-sans.LICENSE", TEXT),
    asset!("vendor/geist-mono-latin.woff2", FONT),
    asset!("vendor/geist-mono.LICENSE", TEXT),
];
