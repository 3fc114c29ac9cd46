//! FrameDecoder on their way out, in the order in which they leave.
//!
//! The bytes of small ones lie side by side, so that what many callers send is one piece to write,
//! and none of their buffers outlives the call that made it. Large ones stay as they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::framing::Frame;
use super::table::CallId;

/// Of which room a frame takes a place until it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameBudget {
    /// That of the callers.
    Callers,
    /// That of what we send of our own accord.
    Ours,
}

/// How many places have become free.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FreedFrames {
    pub(super) callers: usize,
    pub(super) ours: usize,
}

impl FreedFrames {
    pub(super) const fn add(&mut self, room: FrameBudget) {
        match room {
            FrameBudget::Callers => self.callers += 1,
            FrameBudget::Ours => self.ours += 1,
        }
    }
}

/// FrameDecoder, the first of which may be written in part.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<OutboxFrame>,
    /// Whether the first one has lost bytes already.
    is_torn: bool,
    /// The bytes of the small ones, one after the other.
    small: Vec<u8>,
    /// How many of these are gone.
    gone: usize,
}

/// A frame that waits.
#[derive(Debug)]
pub(super) struct OutboxFrame {
    /// The call it is the request of.
    call: Option<CallId>,
    pub(super) room: FrameBudget,
    body: Body,
}

/// What is left of a frame.
#[derive(Debug)]
enum Body {
    /// So many of the small bytes.
    Small(usize),
    Large(VecDeque<Bytes>),
}

impl Body {
    const fn small_len(&self) -> usize {
        match self {
            Self::Small(length) => *length,
            Self::Large(_) => 0,
        }
    }
}

impl Outbox {
    /// Of a small frame the bytes are taken, and its buffer is left to the caller.
    pub(super) fn push(&mut self, call: Option<CallId>, room: FrameBudget, frame: &mut Frame) {
        let body = match frame {
            Frame::Small(bytes) => {
                self.small.extend_from_slice(bytes);
                Body::Small(bytes.len())
            }
            Frame::Large(parts) => Body::Large(std::mem::take(parts)),
        };
        self.frames.push_back(OutboxFrame { call, room, body });
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Takes the request of a call back, unless a part of it was written.
    pub(super) fn take_back(&mut self, call: CallId) -> Option<OutboxFrame> {
        let first = usize::from(self.is_torn);
        let mut whole = self.frames.iter().skip(first);
        let place = first + whole.position(|frame| frame.call == Some(call))?;
        let before = self.frames.iter().take(place);
        let start = self.gone + before.map(|frame| frame.body.small_len()).sum::<usize>();
        let taken = self.frames.remove(place)?;
        self.cut(start, taken.body.small_len());
        self.tidy();
        Some(taken)
    }

    /// Takes bytes out of the small ones, and moves those on the shorter side of them.
    fn cut(&mut self, start: usize, length: usize) {
        if start - self.gone < self.small.len() - start {
            self.small.copy_within(self.gone..start, self.gone + length);
            self.gone += length;
        } else {
            self.small.drain(start..start + length);
        }
    }

    /// Makes room of what is gone, when there is more of that than is left.
    fn tidy(&mut self) {
        if self.gone <= self.small.len() / 2 {
            return;
        }
        self.small.drain(..self.gone);
        self.gone = 0;
        if self.small.is_empty() && self.small.capacity() > KEPT_BYTES {
            self.small = Vec::new();
        }
    }

    /// The call of which a part of the request was written.
    pub(super) fn torn(&self) -> Option<CallId> {
        let first = self.frames.front().filter(|_| self.is_torn);
        first.and_then(|frame| frame.call)
    }

    /// The calls of whose requests nothing was written.
    pub(super) fn whole(&self) -> impl Iterator<Item = CallId> {
        let whole = self.frames.iter().skip(usize::from(self.is_torn));
        whole.filter_map(|frame| frame.call)
    }

    /// What should still be written before the pipe is closed: the rest of a torn frame, and what
    /// is no request.
    pub(super) fn rest(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        let (mut at, mut is_torn) = (self.gone, self.is_torn);
        for frame in &self.frames {
            let small = &self.small[at..at + frame.body.small_len()];
            at += small.len();
            if std::mem::take(&mut is_torn) || frame.call.is_none() {
                rest.extend_from_slice(small);
                if let Body::Large(parts) = &frame.body {
                    parts.iter().for_each(|part| rest.extend_from_slice(part));
                }
            }
        }
        rest
    }

    /// Puts others behind.
    pub(super) fn append(&mut self, mut others: Self) {
        debug_assert!(
            !others.is_torn,
            "invariant broken: a torn frame is not the first"
        );
        self.small.extend_from_slice(&others.small[others.gone..]);
        self.frames.append(&mut others.frames);
    }

    /// Writes as much as the pipe takes at once, and says how many bytes, and which places that
    /// frees.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut (impl AsyncWrite + Unpin + ?Sized),
    ) -> Poll<io::Result<(usize, FreedFrames)>> {
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let written = match self.pieces(&mut pieces) {
            1 => ready!(Pin::new(pipe).poll_write(cx, &pieces[0]))?,
            count => ready!(Pin::new(pipe).poll_write_vectored(cx, &pieces[..count]))?,
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let freed = self.advance(written);
        self.tidy();
        Poll::Ready(Ok((written, freed)))
    }

    /// What is to be written next, in as few pieces as possible, and how many these are.
    fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES_MAX]) -> usize {
        let mut count = 0;
        let (mut start, mut end) = (self.gone, self.gone);
        let mut put = |piece: &'a [u8]| {
            if let Some(place) = pieces.get_mut(count)
                && !piece.is_empty()
            {
                *place = IoSlice::new(piece);
                count += 1;
            }
        };
        for frame in &self.frames {
            match &frame.body {
                Body::Small(length) => end += length,
                Body::Large(parts) => {
                    put(&self.small[start..end]);
                    start = end;
                    for part in parts {
                        put(part);
                    }
                }
            }
        }
        put(&self.small[start..end]);
        count
    }

    /// Takes bytes off the front, and says which places are free now.
    fn advance(&mut self, mut count: usize) -> FreedFrames {
        let mut freed = FreedFrames::default();
        while let Some(frame) = self.frames.front_mut() {
            let before = count;
            let is_written = match &mut frame.body {
                Body::Small(length) => {
                    let taken = count.min(*length);
                    *length -= taken;
                    self.gone += taken;
                    count -= taken;
                    *length == 0
                }
                Body::Large(parts) => {
                    count -= advance(parts, count);
                    parts.is_empty()
                }
            };
            if !is_written {
                self.is_torn |= count < before;
                return freed;
            }
            freed.add(frame.room);
            self.frames.pop_front();
            self.is_torn = false;
        }
        freed
    }
}

/// Takes bytes off the front, and says how many.
fn advance(parts: &mut VecDeque<Bytes>, count: usize) -> usize {
    let mut left = count;
    while let Some(part) = parts.front_mut() {
        let taken = left.min(part.len());
        part.advance(taken);
        left -= taken;
        if !part.is_empty() {
            break;
        }
        parts.pop_front();
    }
    count - left
}

/// A larger buffer is given back.
const KEPT_BYTES: usize = 64 * 1024;
/// Of one write.
const PIECES_MAX: usize = 64;

#[cfg(test)]
mod tests;
