use proptest::prelude::*;

use super::*;

#[test]
fn nothing_is_sent_without_credit_and_no_more_than_was_granted() {
    let mut kept = KeptOutput::new(0, WhenFull::Pause);
    kept.push(b"abcdef", 100);
    assert!(!kept.is_sendable());
    assert_eq!(kept.take(100), None);
    kept.grant(2);
    assert_eq!(kept.take(100).map(|chunk| chunk.bytes), Some(b"ab".into()));
    assert_eq!(kept.take(100), None);
}

#[test]
fn what_is_full_is_not_read_or_drops_the_oldest() {
    let mut pausing = KeptOutput::new(0, WhenFull::Pause);
    assert_eq!(pausing.readable(3), 3);
    assert_eq!(pausing.push(b"abc", 3), 0);
    assert_eq!(pausing.readable(0), 0);

    let mut dropping = KeptOutput::new(10, WhenFull::DropOldest);
    assert_eq!(dropping.push(b"abc", 3), 0);
    assert_eq!(dropping.readable(0), usize::MAX);
    assert_eq!(dropping.push(b"de", 0), 2);
    let chunk = dropping.take(100).unwrap();
    assert_eq!((chunk.bytes, chunk.dropped_bytes), (b"cde".to_vec(), 2));
    assert_eq!(dropping.totals().dropped, 2);
}

#[test]
fn what_was_granted_is_not_cut() {
    let mut kept = KeptOutput::new(2, WhenFull::Pause);
    kept.push(b"abcde", 100);
    assert_eq!(kept.cut_ungranted(), 3);
    assert_eq!(kept.take(9).map(|chunk| chunk.bytes), Some(b"ab".into()));
    assert_eq!(kept.totals().cut, 3);
}

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<u8>, usize),
    Grant(u64),
    Take(usize),
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (proptest::collection::vec(any::<u8>(), 0..20), 0_usize..30)
            .prop_map(|(bytes, room)| Step::Push(bytes, room)),
        (0_u64..30).prop_map(Step::Grant),
        (1_usize..20).prop_map(Step::Take),
        Just(Step::Cut),
    ]
}

/// The same, one byte at a time and without a clever structure.
#[derive(Default)]
struct Model {
    /// Each byte with its place in the stream.
    waiting: Vec<(u64, u8)>,
    read: u64,
    granted: u64,
    sent: u64,
    lost: u64,
    last_place: Option<u64>,
}

proptest! {
    #[test]
    fn it_is_like_a_list_of_bytes_under_any_steps(
        steps in proptest::collection::vec(step(), 0..60),
        drops in any::<bool>(),
    ) {
        let when_full = if drops { WhenFull::DropOldest } else { WhenFull::Pause };
        let mut kept = KeptOutput::new(0, when_full);
        let mut model = Model::default();
        let mut next_seq = 0;
        for step in steps {
            match step {
                Step::Push(bytes, room) => {
                    let count = bytes.len().min(kept.readable(room));
                    let dropped = kept.push(&bytes[..count], room);
                    for byte in &bytes[..count] {
                        model.waiting.push((model.read, *byte));
                        model.read += 1;
                    }
                    let excess = if drops { count.saturating_sub(room) } else { 0 };
                    let excess = excess.min(model.waiting.len());
                    model.waiting.drain(..excess);
                    model.lost += excess as u64;
                    prop_assert_eq!(dropped, excess);
                }
                Step::Grant(bytes) => {
                    kept.grant(bytes);
                    model.granted += bytes;
                }
                Step::Take(bytes_max) => {
                    let is_sendable = kept.is_sendable();
                    let chunk = kept.take(bytes_max);
                    prop_assert_eq!(chunk.is_some(), is_sendable);
                    let Some(chunk) = chunk else { continue };
                    prop_assert!(!chunk.bytes.is_empty() && chunk.bytes.len() <= bytes_max);
                    let taken: Vec<_> = model.waiting.drain(..chunk.bytes.len()).collect();
                    let bytes: Vec<u8> = taken.iter().map(|(_, byte)| *byte).collect();
                    prop_assert_eq!(&bytes, &chunk.bytes);
                    let expected = model.last_place.map_or(0, |place| place + 1);
                    if !drops {
                        prop_assert_eq!(chunk.dropped_bytes, 0);
                    } else if model.lost == kept.totals().dropped && kept.totals().cut == 0 {
                        prop_assert_eq!(chunk.dropped_bytes, taken[0].0 - expected);
                    }
                    model.last_place = taken.last().map(|(place, _)| *place);
                    model.sent += chunk.bytes.len() as u64;
                    prop_assert!(model.sent <= model.granted);
                    prop_assert_eq!(chunk.seq, next_seq);
                    next_seq += 1;
                }
                Step::Cut => {
                    let granted = usize::try_from(model.granted - model.sent).unwrap();
                    let keep = model.waiting.len().min(granted);
                    prop_assert_eq!(kept.cut_ungranted(), model.waiting.len() - keep);
                    model.waiting.truncate(keep);
                }
            }
            let ByteTotals { sent, dropped, cut } = kept.totals();
            prop_assert_eq!(model.read, sent + dropped + cut + kept.len() as u64);
            prop_assert_eq!(model.waiting.len(), kept.len());
        }
    }
}
