//! Invariants of all accounts, asserted in debug builds after every change.

use std::collections::BTreeSet;

use super::{Accounts, MemberKey, Totals};

impl<H: Clone> Accounts<H> {
    /// Asserts what holds after a grant to this member.
    pub(super) fn assert_granted(&self, key: MemberKey) {
        let Totals {
            slots,
            committed,
            connecting,
            ..
        } = self.totals;
        let (limit, account) = (self.limit, self.account(key));
        assert!(slots <= limit, "invariant B1 broken: {slots} of {limit}");
        let is_own = account.slots <= account.entitlement.reserved;
        assert!(
            is_own || committed <= limit,
            "invariant B1 broken: what is granted is reserved for another pool"
        );
        assert!(
            connecting <= self.max_connecting,
            "invariant B2 broken: {connecting} connects of {}",
            self.max_connecting
        );
    }

    /// Asserts what holds after every operation that ends with [`grant_free`](Self::grant_free).
    pub(in crate::budget) fn assert_invariants(&self) {
        let mut totals = Totals::default();
        self.iter().for_each(|account| totals.add(account));
        assert_eq!(
            totals, self.totals,
            "invariant broken: the totals are those of all accounts"
        );
        let members = self.table.iter().zip(0..);
        let untaken = members.filter_map(|(account, place)| {
            let since = account.as_ref()?.untaken_since()?;
            Some((since, MemberKey(place)))
        });
        assert!(
            untaken.collect::<BTreeSet<_>>() == self.untaken,
            "invariant broken: the list of untaken permits is that of all accounts"
        );
        assert!(
            self.next_to_serve().is_none(),
            "invariant B3 broken: a permit is free and a member asks"
        );
    }
}
