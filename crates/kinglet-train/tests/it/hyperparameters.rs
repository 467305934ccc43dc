//! The table of hyperparameters agrees with itself.

use kinglet_train::hyp::KEYS;

#[test]
fn what_evolves_stays_within_what_a_file_may_give() {
    for k in KEYS {
        let (low, high) = k.evolves.unwrap_or((k.low, k.high));
        assert!(k.low <= low && low < high && high <= k.high, "{}", k.key);
        assert!((k.low..=k.high).contains(&k.default), "{}", k.key);
    }
}
