//! Keys that stand twice in one object. A reader of JSON keeps the last one silently; which of the two was meant
//! cannot be known.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// Keys that are reported at most.
const MOST: usize = 16;

/// JSON Pointers to the first few keys that stand twice in one object of a JSON text.
pub(super) fn duplicate_keys(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(source);
    // The text has been read before, so that an error cannot happen; if it did, what was found so far stands.
    let _ = Walk { steps: &mut Vec::new(), found: &mut found }.deserialize(&mut reader);
    found
}

struct Walk<'a> {
    /// The way from the root to the value that is being read.
    steps: &'a mut Vec<String>,
    found: &'a mut Vec<String>,
}

impl Walk<'_> {
    fn pointer(&self) -> String {
        self.steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            self.steps.push(key.clone());
            if !seen.insert(key) && self.found.len() < MOST {
                self.found.push(self.pointer());
            }
            map.next_value_seed(Walk { steps: &mut *self.steps, found: &mut *self.found })?;
            self.steps.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.steps.push(index.to_string());
            let item = items.next_element_seed(Walk { steps: &mut *self.steps, found: &mut *self.found })?;
            self.steps.pop();
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_stand_twice_are_found_where_they_stand() {
        let found = duplicate_keys(r#"{"a": 1, "b": [0.5, {"c/d": null, "c/d": "x"}], "a": true, "e": {"a": -1}}"#);
        assert_eq!(found, ["/b/1/c~1d", "/a"]);
    }
}
