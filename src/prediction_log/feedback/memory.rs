//! A map of a bounded number of hashes that forgets the oldest.
//!
//! Owns the layout: a ring of keys and values in the order in which they came, and a table with open
//! addressing of places in the ring. 4 bytes a slot of the table, at most three quarters of them in use, and no
//! allocation of its own for an entry. Keys are hashes already: their low bits choose the slot.

/// A slot without an entry.
const VACANT: u32 = u32::MAX;

/// The fewest slots of a table that is not empty.
const SLOTS_MIN: usize = 64;

/// A hash.
pub(super) trait Key: Copy + Eq {
    fn low(self) -> u64;
}

impl Key for u64 {
    fn low(self) -> u64 {
        self
    }
}

impl Key for u128 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash is a hash")]
    fn low(self) -> u64 {
        self as u64
    }
}

/// The map.
#[derive(Debug)]
pub(super) struct Memory<K, V> {
    /// Places in the ring; as many slots as a power of two, or none.
    slots: Vec<u32>,
    keys: Vec<K>,
    values: Vec<V>,
    /// The oldest place of a full ring.
    oldest: usize,
    /// Entries in the table. One that was removed leaves its place in the ring until its turn comes.
    len: usize,
    capacity: usize,
}

impl<K: Key, V: Copy> Memory<K, V> {
    /// Keeps at most `capacity` entries; takes memory as they come.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, VACANT as usize);
        let (keys, values) = (Vec::new(), Vec::new());
        Self { slots: Vec::new(), keys, values, oldest: 0, len: 0, capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
            + self.keys.capacity() * size_of::<K>()
            + self.values.capacity() * size_of::<V>()
    }

    pub(super) fn get(&self, key: K) -> Option<V> {
        let slot = self.find(key)?;
        Some(self.values[self.slots[slot] as usize])
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.find(key).is_some()
    }

    /// Remembers an entry, or gives the one that is there another value.
    pub(super) fn put(&mut self, key: K, value: V) {
        if let Some(slot) = self.find(key) {
            self.values[self.slots[slot] as usize] = value;
            return;
        }
        let place = if self.keys.len() < self.capacity {
            self.grow();
            self.keys.push(key);
            self.values.push(value);
            self.keys.len() - 1
        } else {
            let place = self.oldest;
            self.oldest = (place + 1) % self.capacity;
            let old = self.find(self.keys[place]);
            // The key may have been removed, and have come back since to a later place.
            if let Some(slot) = old.filter(|&slot| self.slots[slot] as usize == place) {
                self.vacate(slot);
            }
            (self.keys[place], self.values[place]) = (key, value);
            place
        };
        self.link(place);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, key: K) {
        if let Some(slot) = self.find(key) {
            self.vacate(slot);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    fn home(&self, key: K) -> usize {
        key.low() as usize & (self.slots.len() - 1)
    }

    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    fn find(&self, key: K) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.home(key);
        while self.slots[slot] != VACANT {
            if self.keys[self.slots[slot] as usize] == key {
                return Some(slot);
            }
            slot = self.after(slot);
        }
        None
    }

    /// Enters a place of the ring; there is a vacant slot.
    fn link(&mut self, place: usize) {
        let mut slot = self.home(self.keys[place]);
        while self.slots[slot] != VACANT {
            slot = self.after(slot);
        }
        // Places are below the capacity, which is at most this.
        self.slots[slot] = u32::try_from(place).unwrap_or(VACANT);
    }

    /// Empties a slot and moves up what was pushed on by it (Knuth, TAOCP 3, 6.4, algorithm R).
    fn vacate(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        let mut slot = self.after(hole);
        while self.slots[slot] != VACANT {
            let home = self.home(self.keys[self.slots[slot] as usize]);
            // Only if the hole lies on its way from home.
            if slot.wrapping_sub(home) & mask >= slot.wrapping_sub(hole) & mask {
                self.slots[hole] = self.slots[slot];
                hole = slot;
            }
            slot = self.after(slot);
        }
        self.slots[hole] = VACANT;
        self.len -= 1;
    }

    /// Makes room for one more in ring and table.
    fn grow(&mut self) {
        if self.keys.len() == self.keys.capacity() {
            let more = self.keys.len().max(SLOTS_MIN).min(self.capacity - self.keys.len());
            self.keys.reserve_exact(more);
            self.values.reserve_exact(more);
        }
        if (self.keys.len() + 1) * 4 > self.slots.len() * 3 {
            let slots = (self.slots.len() * 2).max(SLOTS_MIN);
            let old = std::mem::replace(&mut self.slots, vec![VACANT; slots]);
            for place in old.into_iter().filter(|&place| place != VACANT) {
                self.link(place as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// It answers as a plain list of the latest entries does, whatever collides.
        #[test]
        fn it_is_a_map_of_the_latest(
            steps in prop::collection::vec((0u64..40, any::<bool>(), prop::bool::weighted(0.2)), 1..300),
            capacity in 1usize..30,
        ) {
            let mut memory = Memory::new(capacity);
            // Places in the order in which they came: a key, or nothing where it was removed.
            let mut places: VecDeque<(Option<u64>, usize)> = VecDeque::new();
            for (value, (key, far, remove)) in steps.into_iter().enumerate() {
                // Many keys share a home.
                let key = if far { key << 32 } else { key };
                let known = places.iter_mut().find(|place| place.0 == Some(key));
                if remove {
                    memory.remove(key);
                    if let Some(place) = known {
                        place.0 = None;
                    }
                } else {
                    memory.put(key, value);
                    if let Some(place) = known {
                        place.1 = value;
                    } else {
                        places.push_back((Some(key), value));
                        if places.len() > capacity {
                            places.pop_front();
                        }
                    }
                }
                let live = places.iter().filter(|place| place.0.is_some()).count();
                prop_assert_eq!(memory.len(), live);
                for key in (0..40).flat_map(|key| [key, key << 32]) {
                    let expected = places.iter().find(|place| place.0 == Some(key));
                    prop_assert_eq!(memory.get(key), expected.map(|place| place.1));
                }
            }
        }
    }
}
