//! A list that only grows, so that readers need no lock and places in it stay what they are.

use std::sync::OnceLock;

/// The list; an empty one costs one word and its state.
#[derive(Debug)]
pub(super) struct Chain<T>(OnceLock<Box<Link<T>>>);

#[derive(Debug)]
struct Link<T> {
    item: T,
    next: Chain<T>,
}

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Chain<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    pub(super) fn at(&self, place: usize) -> Option<&T> {
        self.iter().nth(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let first = self.0.get().map(|first| &**first);
        std::iter::successors(first, |link| link.next.0.get().map(|next| &**next))
            .map(|link| &link.item)
    }

    /// The item that `fits`, appended when there is none; with whether it was. `None` when there
    /// are `count_max` others.
    pub(super) fn find_or_add(
        &self,
        count_max: usize,
        fits: impl Fn(&T) -> bool,
        make: impl Fn() -> T,
    ) -> Option<(&T, bool)> {
        let mut chain = self;
        for _ in 0..count_max {
            let mut made = false;
            let link = chain.0.get_or_init(|| {
                made = true;
                Box::new(Link {
                    item: make(),
                    next: Self::default(),
                })
            });
            if made || fits(&link.item) {
                return Some((&link.item, made));
            }
            chain = &link.next;
        }
        None
    }
}
