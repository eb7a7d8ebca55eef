//! An answer that comes as a stream, whatever API it belongs to.

use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, BytesMut};

use super::Ids;
use super::chat::Chat;
use super::completions::Completions;
use super::notes::Notes;
use super::pass::Pass;
use super::responses::Responses;
use super::said::{Said, failed};
use crate::model::Engine;
use crate::translate::{Kind, Wants};
use crate::wire::error_body::ApiError;
use crate::wire::observe::Seen;
use crate::wire::sse::Framer;

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The application has all of it.
    Complete,
    /// An error ended it: [`Stream::error`].
    Failed,
    /// It stopped in the middle.
    Broke,
}

/// How far a stream has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) seen: Seen,
    pub(super) shown: bool,
    pub(super) notes: Notes,
    /// Nothing is written any more.
    pub(super) ended: bool,
    error: Option<Said>,
    model: Option<String>,
}

impl Progress {
    /// A token came, of whatever kind.
    pub(super) fn generated(&mut self, now: Instant) {
        self.seen.first_content.get_or_insert(now);
    }

    pub(super) fn know_model(&mut self, model: &str) {
        if self.model.is_none() {
            self.model = Some(model.chars().take(super::MAX_ID).collect());
        }
    }

    /// The answer ends here. Before it showed anything another backend may still give it.
    pub(super) fn fail(&mut self, said: Said, out: &mut BytesMut) {
        if self.shown {
            out.put_slice(&said.error.to_event());
        }
        self.note_error(said);
        self.ended = true;
    }

    pub(super) fn note_error(&mut self, said: Said) {
        self.seen.error_event = true;
        self.error.get_or_insert(said);
    }
}

/// Rewrites a stream as it comes: every event leaves in the call that completed it.
pub struct Stream {
    framer: Framer,
    rewriter: Rewriter,
    progress: Progress,
}

enum Rewriter {
    Chat(Box<Chat>),
    Responses(Box<Responses>),
    Completions(Box<Completions>),
    Pass(Box<Pass>),
}

impl Stream {
    /// An answer of OpenAI's passes as it is, but for usage that the application did not ask for.
    pub fn new(wants: Arc<Wants>, ids: Ids) -> Self {
        let rewriter = match (wants.engine, wants.kind) {
            (Engine::OpenAi, _) => {
                Rewriter::Pass(Box::new(Pass::new(!wants.usage_chunk && wants.kind != Kind::Responses)))
            }
            (_, Kind::Completions) => Rewriter::Completions(Box::new(Completions::new(wants, ids))),
            (_, Kind::Chat) => Rewriter::Chat(Box::new(Chat::new(wants, ids))),
            (_, Kind::Responses) => Rewriter::Responses(Box::new(Responses::new(wants, ids))),
        };
        Self { framer: Framer::default(), rewriter, progress: Progress::default() }
    }

    /// Appends what the events that `chunk` completes are for the application.
    pub fn push(&mut self, chunk: &[u8], now: Instant, out: &mut BytesMut) {
        let Self { framer, rewriter, progress } = self;
        match rewriter {
            Rewriter::Pass(pass) => return pass.push(chunk, now, progress, out),
            Rewriter::Chat(_) | Rewriter::Responses(_) | Rewriter::Completions(_) if progress.ended => return,
            Rewriter::Chat(chat) => framer.push(chunk, |data| {
                if !progress.ended {
                    chat.event(data, now, progress, out);
                }
            }),
            Rewriter::Completions(completions) => framer.push(chunk, |data| {
                if !progress.ended {
                    completions.event(data, now, progress, out);
                }
            }),
            Rewriter::Responses(responses) => framer.push(chunk, |data| {
                if !progress.ended {
                    responses.event(data, now, progress, out);
                }
            }),
        }
        if framer.oversized > 0 && !progress.ended {
            progress.fail(failed("the backend sent an event that is too long"), out);
        }
    }

    /// The body ended as HTTP has it.
    pub fn end(&mut self, out: &mut BytesMut) -> Ending {
        let progress = &mut self.progress;
        match &mut self.rewriter {
            Rewriter::Pass(pass) => pass.end(out),
            Rewriter::Chat(chat) if chat.has_finished() => chat.complete(progress, out),
            Rewriter::Completions(completions) if completions.has_finished() => completions.complete(progress, out),
            Rewriter::Chat(_) | Rewriter::Responses(_) | Rewriter::Completions(_) => {}
        }
        if progress.error.is_some() {
            Ending::Failed
        } else if progress.seen.finished() && (progress.ended || matches!(self.rewriter, Rewriter::Pass(_))) {
            Ending::Complete
        } else {
            Ending::Broke
        }
    }

    /// Tells the application that a stream it has seen a part of broke off.
    pub fn broke_off(&mut self, out: &mut BytesMut) {
        if self.progress.error.is_none() && !self.progress.ended {
            let error = ApiError::server("the answer broke off; what came so far is all there is", "upstream_error");
            out.put_slice(&error.to_event());
            self.progress.ended = true;
        }
    }

    /// Whether nothing more will be shown, though the server may go on: every choice met a stop string.
    pub fn is_over(&self) -> bool {
        match &self.rewriter {
            Rewriter::Chat(chat) => chat.has_finished(),
            Rewriter::Completions(completions) => completions.has_finished(),
            Rewriter::Responses(_) | Rewriter::Pass(_) => self.progress.ended,
        }
    }

    pub const fn seen(&self) -> &Seen {
        &self.progress.seen
    }

    /// Whether the application got something to see: a text, a call, a refusal, a thought that is passed on.
    pub const fn has_shown(&self) -> bool {
        self.progress.shown
    }

    /// The error that ended the stream. It was written only if something had been shown before.
    pub const fn error(&self) -> Option<&Said> {
        self.progress.error.as_ref()
    }

    /// The model as the backend names it.
    pub fn model(&self) -> Option<&str> {
        self.progress.model.as_deref()
    }

    pub const fn notes(&self) -> Notes {
        self.progress.notes
    }
}
