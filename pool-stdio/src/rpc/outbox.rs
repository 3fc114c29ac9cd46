//! Frames that wait to be written, in their order.
//!
//! Small frames are copied into one buffer, so that the requests of many callers are written as one
//! piece, and the buffer of a request is freed early. Large frames are not copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::framing::Frame;
use super::table::CallId;

/// Which limit a frame counts against until it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameBudget {
    /// The limit of what callers send.
    Callers,
    /// The limit of what the connection sends by itself: cancel notifications and answers.
    Ours,
}

/// How many frames were written, by the limit that they counted against.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FreedFrames {
    pub(super) callers: usize,
    pub(super) ours: usize,
}

impl FreedFrames {
    pub(super) const fn add(&mut self, budget: FrameBudget) {
        match budget {
            FrameBudget::Callers => self.callers += 1,
            FrameBudget::Ours => self.ours += 1,
        }
    }

    pub(super) const fn add_all(&mut self, other: Self) {
        self.callers += other.callers;
        self.ours += other.ours;
    }
}

/// What one write did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) bytes: usize,
    pub(super) freed: FreedFrames,
}

/// Frames that wait. A part of the first one may be written already.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<OutboxFrame>,
    /// Whether a part of the first one was written.
    is_torn: bool,
    /// The bytes of the small frames, one after the other.
    small: Vec<u8>,
    /// How many of these were written or taken back.
    gone: usize,
}

/// A frame that waits.
#[derive(Debug)]
pub(super) struct OutboxFrame {
    /// The call, if the frame is a request.
    call: Option<CallId>,
    pub(super) budget: FrameBudget,
    body: Body,
}

/// What is left to write of a frame.
#[derive(Debug)]
enum Body {
    /// This many bytes of the small ones.
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
    /// Adds a frame. A small one is copied, so its buffer can be freed outside of the lock.
    pub(super) fn push(&mut self, call: Option<CallId>, budget: FrameBudget, frame: &mut Frame) {
        let body = match frame {
            Frame::Small(bytes) => {
                self.small.extend_from_slice(bytes);
                Body::Small(bytes.len())
            }
            Frame::Large(parts) => Body::Large(std::mem::take(parts)),
        };
        self.frames.push_back(OutboxFrame { call, budget, body });
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

    /// Removes bytes from the small ones by moving the shorter side.
    fn cut(&mut self, start: usize, length: usize) {
        if start - self.gone < self.small.len() - start {
            self.small.copy_within(self.gone..start, self.gone + length);
            self.gone += length;
        } else {
            self.small.drain(start..start + length);
        }
    }

    /// Reuses the space of written bytes once it is larger than what is left.
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

    /// The call whose request was written in part.
    pub(super) fn torn(&self) -> Option<CallId> {
        let first = self.frames.front().filter(|_| self.is_torn);
        first.and_then(|frame| frame.call)
    }

    /// The calls of whose requests not a byte was written.
    pub(super) fn whole(&self) -> impl Iterator<Item = CallId> {
        let whole = self.frames.iter().skip(usize::from(self.is_torn));
        whole.filter_map(|frame| frame.call)
    }

    /// The calls whose requests are not wholly written.
    pub(super) fn calls(&self) -> impl Iterator<Item = CallId> {
        self.frames.iter().filter_map(|frame| frame.call)
    }

    /// What should still be written before the pipe is closed: the rest of a torn frame, and all
    /// frames that are not requests.
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

    /// Adds the frames of another outbox behind its own.
    pub(super) fn append(&mut self, mut others: Self) {
        debug_assert!(
            !others.is_torn,
            "invariant broken: a torn frame is not the first"
        );
        self.small.extend_from_slice(&others.small[others.gone..]);
        self.frames.append(&mut others.frames);
    }

    /// Writes as much as the pipe takes in one system call.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut (impl AsyncWrite + Unpin + ?Sized),
    ) -> Poll<io::Result<Written>> {
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let bytes = match self.pieces(&mut pieces) {
            1 => ready!(Pin::new(pipe).poll_write(cx, &pieces[0]))?,
            count => ready!(Pin::new(pipe).poll_write_vectored(cx, &pieces[..count]))?,
        };
        if bytes == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let freed = self.advance(bytes);
        self.tidy();
        Poll::Ready(Ok(Written { bytes, freed }))
    }

    /// Fills in what is to be written next, in as few pieces as possible, and returns their number.
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

    /// Removes written bytes from the front.
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
            freed.add(frame.budget);
            self.frames.pop_front();
            self.is_torn = false;
        }
        freed
    }
}

/// Removes up to `count` bytes from the front, and returns how many.
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

/// An empty buffer with a larger capacity is freed.
const KEPT_BYTES: usize = 64 * 1024;
/// Pieces of one vectored write.
const PIECES_MAX: usize = 64;

#[cfg(test)]
mod tests;
