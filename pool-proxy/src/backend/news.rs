//! Which lists of a key have changed, told to the streams of all its clients.
//!
//! A stream is told of each list that has changed since it was told last: once, however often that was. So however
//! slow a stream is, what it still has to be told is bounded, and no change of one list hides that of another.

use bytes::Bytes;
use tokio::sync::watch;

/// The changes of lists that a key tells its clients.
#[derive(Debug)]
pub(super) struct ListNews(watch::Sender<Changes>);

/// The same for one stream.
#[derive(Debug)]
pub(crate) struct News {
    changes: watch::Receiver<Changes>,
    /// How many changes of each list there were when it was told.
    told: [u64; LISTS.len()],
    /// The list that it was told of last: the others are next.
    last: usize,
}

type Changes = [Change; LISTS.len()];

#[derive(Debug, Clone, Default)]
struct Change {
    count: u64,
    /// The latest.
    message: Bytes,
}

impl ListNews {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// From now on.
    pub(super) fn listen(&self) -> News {
        let changes = self.0.subscribe();
        let told = changes.borrow().each_ref().map(|change| change.count);
        News {
            changes,
            told,
            last: 0,
        }
    }

    /// A child has said this. It is told only if it says that a list has changed.
    pub(super) fn tell(&self, method: &str, message: Bytes) {
        if let Some(list) = LISTS.iter().position(|(_, known)| *known == method) {
            self.0.send_modify(|changes| {
                let change = &mut changes[list];
                change.count += 1;
                change.message = message;
            });
        }
    }

    /// Each of the lists with such a name may have changed.
    pub(super) fn tell_all(&self, is_told: impl Fn(&str) -> bool) {
        for (_, method) in LISTS.iter().filter(|(list, _)| is_told(list)) {
            let message = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
            self.tell(method, message.into());
        }
    }
}

impl News {
    /// The next change; `None` if there will be no more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.untold() {
                return Some(message);
            }
            self.changes.changed().await.ok()?;
        }
    }

    fn untold(&mut self) -> Option<Bytes> {
        let changes = self.changes.borrow_and_update();
        let count = changes.len();
        let lists = (1..=count).map(|step| (self.last + step) % count);
        let list = { lists }.find(|list| changes[*list].count != self.told[*list])?;
        (self.last, self.told[list]) = (list, changes[list].count);
        Some(changes[list].message.clone())
    }
}

/// The capability that a list is part of, and what says that it has changed.
const LISTS: [(&str, &str); 3] = [
    ("tools", "notifications/tools/list_changed"),
    ("prompts", "notifications/prompts/list_changed"),
    ("resources", "notifications/resources/list_changed"),
];

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn next(news: &mut News) -> Option<Bytes> {
        news.next().now_or_never().flatten()
    }

    #[test]
    fn each_list_that_has_changed_is_told_of_once_however_often_it_has() {
        let [tools, prompts, resources] = LISTS.map(|(_, method)| method);
        let all = ListNews::new();
        all.tell(resources, "before".into());
        let mut news = all.listen();
        assert_eq!(next(&mut news), None);
        all.tell(prompts, "prompts".into());
        for number in 0..100 {
            all.tell(tools, format!("tools {number}").into());
        }
        assert_eq!(next(&mut news).unwrap(), "prompts");
        assert_eq!(next(&mut news).unwrap(), "tools 99");
        assert_eq!(next(&mut news), None);
        all.tell("notifications/x/list_changed", "unknown".into());
        assert_eq!(next(&mut news), None);
    }

    #[test]
    fn a_list_that_never_stops_changing_holds_up_no_other() {
        let [tools, prompts, _] = LISTS.map(|(_, method)| method);
        let all = ListNews::new();
        let mut news = all.listen();
        all.tell(prompts, "prompts".into());
        let told = [(); 2].map(|()| {
            all.tell(tools, "tools".into());
            next(&mut news).unwrap()
        });
        assert!(told.contains(&Bytes::from("prompts")), "{told:?}");
    }

    #[test]
    fn what_was_told_before_the_end_is_not_lost() {
        let all = ListNews::new();
        let mut news = all.listen();
        all.tell(LISTS[0].1, "tools".into());
        drop(all);
        assert_eq!(next(&mut news).unwrap(), "tools");
        assert_eq!(news.next().now_or_never(), Some(None));
    }
}
