//! The queue against a model of it.

use proptest::prelude::*;

use super::*;

/// Takes so many bytes at once, and no more for now.
struct Pipe {
    room: usize,
    taken: Vec<u8>,
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = self.room.min(bytes.len());
        self.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let count = self.room.min(all.len());
        self.taken.extend_from_slice(&all[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// How long its parts are; one part is a small frame.
    Push(Vec<usize>),
    /// One that is no request.
    Tell(usize),
    Write(usize),
    TakeBack(u64),
    /// Another queue is put behind, as at the end.
    Append(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(1..9_usize, 1..4).prop_map(Step::Push),
        1 => (1..9_usize).prop_map(Step::Tell),
        3 => (1..40_usize).prop_map(Step::Write),
        2 => (0..20_u64).prop_map(Step::TakeBack),
        1 => (1..9_usize).prop_map(Step::Append),
    ];
    prop::collection::vec(step, 0..40)
}

/// What a queue should hold: the calls, and what is left of their frames.
#[derive(Default)]
struct Model {
    frames: VecDeque<(Option<u64>, Vec<u8>)>,
    is_torn: bool,
    next: u64,
}

impl Model {
    fn push(&mut self, queue: &mut Outbox, is_call: bool, lengths: &[usize]) {
        let number = self.next;
        self.next += 1;
        let letter = b'a' + u8::try_from(number % 26).unwrap();
        let all = vec![letter; lengths.iter().sum()];
        let mut frame = match lengths {
            [_] => Frame::Small(all.clone()),
            _ => Frame::Large(lengths.iter().map(|it| vec![letter; *it].into()).collect()),
        };
        let (call, room) = if is_call {
            (Some(number), FrameBudget::Callers)
        } else {
            (None, FrameBudget::Ours)
        };
        queue.push(call, room, &mut frame);
        self.frames.push_back((call, all));
    }

    /// Writes up to `room` bytes. Returns them, and how many frames were finished.
    fn write(&mut self, mut room: usize) -> (Vec<u8>, usize) {
        let (mut written, mut whole) = (Vec::new(), 0);
        while let Some((_, left)) = self.frames.front_mut().filter(|_| room > 0) {
            let count = room.min(left.len());
            written.extend(left.drain(..count));
            room -= count;
            self.is_torn = !left.is_empty();
            if !self.is_torn {
                self.frames.pop_front();
                whole += 1;
            }
        }
        (written, whole)
    }

    fn take_back(&mut self, call: u64) -> bool {
        let mut frames = self.frames.iter().enumerate();
        let found = frames.find(|(_, (it, _))| *it == Some(call));
        let place = found.map(|(place, _)| place);
        let place = place.filter(|place| *place > 0 || !self.is_torn);
        place.is_some_and(|place| self.frames.remove(place).is_some())
    }

    fn calls(&self, skipped: usize) -> Vec<u64> {
        let frames = self.frames.iter().skip(skipped);
        frames.filter_map(|(call, _)| *call).collect()
    }

    fn rest(&self) -> Vec<u8> {
        let frames = self.frames.iter().enumerate();
        let rest =
            frames.filter(|(place, (call, _))| (*place == 0 && self.is_torn) || call.is_none());
        rest.flat_map(|(_, (_, left))| left.clone()).collect()
    }
}

proptest! {
    #[test]
    fn every_byte_leaves_once_and_in_its_order(steps in steps()) {
        let (mut queue, mut model) = (Outbox::default(), Model::default());
        let mut pipe = Pipe { room: 0, taken: Vec::new() };
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        for step in steps {
            match step {
                Step::Push(lengths) => model.push(&mut queue, true, &lengths),
                Step::Tell(length) => model.push(&mut queue, false, &[length]),
                Step::Append(length) => {
                    let (mut others, mut theirs) = (Outbox::default(), Model::default());
                    theirs.next = model.next;
                    theirs.push(&mut others, true, &[1]);
                    theirs.push(&mut others, true, &[length]);
                    theirs.push(&mut others, false, &[length, 1]);
                    // A frame that was taken back is not appended.
                    others.take_back(model.next);
                    theirs.take_back(model.next);
                    queue.append(others);
                    model.next = theirs.next;
                    model.frames.append(&mut theirs.frames);
                }
                Step::Write(_) if queue.is_empty() => {}
                Step::Write(room) => {
                    pipe.room = room;
                    let Poll::Ready(Ok(Written { bytes, freed })) = queue.poll_write(cx, &mut pipe) else {
                        panic!("it takes what there is");
                    };
                    let (written, whole) = model.write(room);
                    prop_assert_eq!(bytes, written.len());
                    prop_assert_eq!(std::mem::take(&mut pipe.taken), written);
                    prop_assert_eq!(freed.callers + freed.ours, whole);
                }
                Step::TakeBack(call) => {
                    let taken = queue.take_back(call).is_some();
                    prop_assert_eq!(taken, model.take_back(call));
                }
            }
            let skipped = usize::from(model.is_torn);
            let first = model.frames.front().filter(|_| model.is_torn);
            prop_assert_eq!(queue.torn(), first.and_then(|(call, _)| *call));
            prop_assert_eq!(queue.whole().collect::<Vec<_>>(), model.calls(skipped));
            prop_assert_eq!(queue.rest(), model.rest());
            prop_assert_eq!(queue.len(), model.frames.len());
        }
    }
}

#[test]
fn what_held_many_frames_is_given_back() {
    let mut queue = Outbox::default();
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    for (length, is_kept) in [(100, true), (KEPT_BYTES + 1, false), (100, true)] {
        queue.push(
            None,
            FrameBudget::Ours,
            &mut Frame::Small(vec![b'x'; length]),
        );
        let mut pipe = Pipe {
            room: usize::MAX,
            taken: Vec::new(),
        };
        assert!(queue.poll_write(cx, &mut pipe).is_ready());
        assert_eq!(pipe.taken.len(), length);
        assert_eq!(queue.small.capacity() > 0, is_kept);
    }
}

#[test]
fn what_is_gone_does_not_pile_up_if_the_rest_was_taken_back() {
    let (mut outbox, mut queue) = (Outbox::default(), Outbox::default());
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    for round in 0..1_000 {
        for call in [2 * round, 2 * round + 1] {
            let mut frame = Frame::Small(vec![b'x'; 1024]);
            queue.push(Some(call), FrameBudget::Callers, &mut frame);
        }
        std::mem::swap(&mut outbox, &mut queue);
        // A pipe holds pages, and may be full right after a frame.
        let mut pipe = Pipe {
            room: 1024,
            taken: Vec::new(),
        };
        assert!(outbox.poll_write(cx, &mut pipe).is_ready());
        assert!(outbox.take_back(2 * round + 1).is_some());
        assert!(outbox.is_empty());
    }
    assert!(outbox.small.len() + queue.small.len() <= 2 * 1024);
}

#[test]
fn what_callers_take_back_in_their_order_does_not_pile_up_either() {
    let mut queue = Outbox::default();
    for call in 0..10_000 {
        queue.push(
            Some(call),
            FrameBudget::Callers,
            &mut Frame::Small(vec![b'x'; 4096]),
        );
        // A hundred are there, of a child that never reads.
        if call >= 100 {
            assert!(queue.take_back(call - 100).is_some());
        }
    }
    assert!(queue.small.len() <= 202 * 4096);
    for call in 9_900..10_000 {
        assert!(queue.take_back(call).is_some());
    }
    assert!(queue.small.capacity() <= KEPT_BYTES);
}
