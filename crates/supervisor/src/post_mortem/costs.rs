//! How the costs of a request are written down: the numbers alone, in the order of [`Cost::ALL`].

use ostler_segment::{Cost, Costs};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(costs: &Costs, to: S) -> Result<S::Ok, S::Error> {
    Cost::ALL.map(|cost| costs.get(cost)).serialize(to)
}

pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Costs, D::Error> {
    let numbers = <[u64; Cost::COUNT]>::deserialize(from)?;
    Ok(Costs::read(|cost| numbers.get(cost as usize).copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_what_is_read() {
        let costs = Costs::read(|cost| 10 + cost as u64);
        let mut text = Vec::new();
        serialize(&costs, &mut serde_json::Serializer::new(&mut text)).unwrap();
        assert_eq!(text, b"[10,11,12,13,14,15,16]");
        let read = deserialize(&mut serde_json::Deserializer::from_slice(&text)).unwrap();
        assert_eq!(read, costs);
    }
}
