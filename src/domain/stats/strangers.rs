//! Values of categories that a baseline does not know, by name.
//!
//! Owns a few of them, so that whoever is told that a feature has new values is told which. Bounded: the first that come
//! are kept, in all and of each feature. Never says how many there are: that is counted elsewhere.

/// The most names that are kept.
const NAMES_MAX: usize = 64;
/// The most of one feature.
const OF_FEATURE_MAX: usize = 8;
/// The most characters of a name.
const CHARS_MAX: usize = 64;

/// A few values that are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strangers {
    names: Vec<(usize, Box<str>, u64)>,
}

impl Strangers {
    /// Takes note of a value of the feature at this place of the layout.
    pub fn note(&mut self, feature: usize, name: &str) {
        let cut = name.char_indices().nth(CHARS_MAX).map_or(name.len(), |(at, _)| at);
        self.add(feature, name.get(..cut).unwrap_or(name), 1);
    }

    fn add(&mut self, feature: usize, name: &str, count: u64) {
        let mut of_feature = 0;
        for (of, known, times) in &mut self.names {
            if *of == feature {
                if **known == *name {
                    *times = times.saturating_add(count);
                    return;
                }
                of_feature += 1;
            }
        }
        if self.names.len() < NAMES_MAX && of_feature < OF_FEATURE_MAX {
            self.names.push((feature, name.into(), count));
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        for (feature, name, count) in &other.names {
            self.add(*feature, name, *count);
        }
    }

    /// Those of a feature, the most frequent first.
    pub fn of(&self, feature: usize) -> Vec<&str> {
        let mut own: Vec<_> = self.names.iter().filter(|(of, ..)| *of == feature).collect();
        own.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.1.cmp(&b.1)));
        own.into_iter().map(|(_, name, _)| &**name).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_names_of_each_feature_are_kept() {
        let mut strangers = Strangers::default();
        for at in 0..1000 {
            strangers.note(at % 20, &format!("new {}", at % 70));
            strangers.note(3, "often");
        }
        let mut more = Strangers::default();
        (0..2000).for_each(|_| more.note(3, "new 23"));
        more.note(5, &"é".repeat(300));
        strangers.merge(&more);
        assert_eq!(strangers.names.len(), NAMES_MAX);
        assert_eq!(strangers.of(3)[..2], ["new 23", "often"]);
        assert!(strangers.of(3).len() <= OF_FEATURE_MAX && strangers.of(99).is_empty());
        assert_eq!(more.of(5), ["é".repeat(CHARS_MAX)]);
        strangers.clear();
        assert!(strangers.is_empty() && strangers.of(3).is_empty());
    }
}
