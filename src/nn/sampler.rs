//! From logits to a token.

use super::kernels::exp;
use super::logits::{Leaders, Logits};
use crate::error::{Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Ordering;

/// Chooses tokens, reproducibly for a seed.
pub(crate) struct Sampler {
    sampling: Sampling,
    random: StdRng,
}

/// How to choose. The temperature comes first; each of the others then cuts what the one before it left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// 0 is greedy.
    pub(crate) temperature: f64,
    /// How many of the most probable tokens stay; 0 is all.
    pub(crate) top_k: usize,
    /// The smallest set of tokens whose probability reaches this stays; 1 is all.
    pub(crate) top_p: f64,
    /// Tokens stay whose probability is at least this share of the most probable one's; 0 is all.
    pub(crate) min_p: f64,
}

/// A chosen token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub(crate) id: u32,
    /// At temperature 1, whatever the sampler's temperature.
    pub(crate) logprob: f64,
    /// The most probable tokens and their log-probabilities, most probable first, lowest id first among equals.
    pub(crate) top: Vec<(u32, f64)>,
}

/// A token that may be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) id: u32,
    pub(crate) logit: f32,
}

/// Most probable first; among equals the lowest id first.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that sorting wants")]
fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

impl Sampler {
    /// A sampler, or an error where a setting is impossible.
    pub(crate) fn new(sampling: Sampling, seed: u64) -> Result<Self> {
        let Sampling { temperature, top_p, min_p, .. } = sampling;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            bail!("a sampling temperature of {temperature} is impossible: use 0 (greedy) or more");
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            bail!("top-p of {top_p} is impossible: use more than 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&min_p) {
            bail!("min-p of {min_p} is impossible: use 0 to 1");
        }
        Ok(Self { sampling, random: StdRng::seed_from_u64(seed) })
    }

    /// Chooses a token and reports the `top` most probable ones.
    pub(crate) fn choose(&mut self, logits: &Logits, top: usize) -> Result<Choice> {
        let leaders = logits.leaders(top.max(1))?;
        let chosen = match self.sampling.temperature {
            0.0 => leaders.best.first().copied(),
            _ => self.draw(&logits.whole()?),
        };
        choice(leaders, chosen, top)
    }

    /// As [`Sampler::choose`], of those tokens alone that are finite in `offered`, whose logits are the same: the
    /// probabilities that are told stay those among all of `logits`.
    pub(crate) fn choose_among(&mut self, offered: Option<&[f32]>, logits: &[f32], top: usize) -> Result<Choice> {
        let leaders = Leaders { normaliser: log_sum_exp(logits)?, best: best(logits, top.max(1)) };
        let chosen = match offered {
            None if self.sampling.temperature == 0.0 => leaders.best.first().copied(),
            Some(offered) if self.sampling.temperature == 0.0 => best(offered, 1).first().copied(),
            offered => self.draw(offered.unwrap_or(logits)),
        };
        choice(leaders, chosen, top)
    }

    fn draw(&mut self, logits: &[f32]) -> Option<Candidate> {
        let Sampling { temperature, top_k, top_p, min_p } = self.sampling;
        let mut kept =
            if top_k > 0 && top_k < logits.len() { best(logits, top_k) } else { candidates(logits).collect() };
        // What a constraint took away.
        kept.retain(|c| c.logit.is_finite());
        let highest = f64::from(kept.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max));
        let weight = |c: &Candidate| ((f64::from(c.logit) - highest) / temperature).exp();
        let all: f64 = if top_p < 1.0 { kept.iter().map(weight).sum() } else { 0.0 };
        if top_p < 1.0 {
            // Tokens so improbable that all of them together do not reach what top-p cuts off need no sorting.
            let floor = (1.0 - top_p) * all / kept.len() as f64;
            kept.retain(|c| weight(c) >= floor);
        }
        kept.sort_unstable_by(by_rank);
        let mut weights: Vec<f64> = kept.iter().map(weight).collect();
        if top_p < 1.0 {
            let enough = top_p * all;
            let mut reached = 0.0;
            let needed = weights.iter().take_while(|&&w| {
                let more = reached < enough;
                reached += w;
                more
            });
            let needed = needed.count().max(1);
            weights.truncate(needed);
        }
        // The most probable token has the weight 1, so that a weight is already the share of its probability.
        weights.truncate(weights.partition_point(|&w| w >= min_p).max(1));
        let mut left = self.random.random::<f64>() * weights.iter().sum::<f64>();
        let index = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        kept.get(index.unwrap_or(weights.len().saturating_sub(1))).copied()
    }
}

fn choice(leaders: Leaders, chosen: Option<Candidate>, top: usize) -> Result<Choice> {
    let Some(chosen) = chosen else { bail!("there are no logits to choose a token from") };
    let logprob = |logit: f32| f64::from(logit) - leaders.normaliser;
    Ok(Choice {
        id: chosen.id,
        logprob: logprob(chosen.logit),
        top: leaders.best.iter().take(top).map(|c| (c.id, logprob(c.logit))).collect(),
    })
}

fn candidates(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    logits.iter().zip(0..).map(|(&logit, id)| Candidate { id, logit })
}

/// The logarithm of the sum of the exponentials; an error where the logits are no numbers.
pub(super) fn log_sum_exp(logits: &[f32]) -> Result<f64> {
    let mut highest = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if logit.is_nan() || logit == f32::INFINITY {
            bail!(
                "the model computed {logit} as the logit of token {id}: its weights are damaged, or its numbers overflow"
            );
        }
        highest = highest.max(logit);
    }
    if highest == f32::NEG_INFINITY {
        bail!("the model gave no token any probability");
    }
    let sum: f64 = logits.iter().map(|&logit| f64::from(exp(logit - highest))).sum();
    Ok(f64::from(highest) + sum.ln())
}

/// The `count` best tokens in order.
pub(super) fn best(logits: &[f32], count: usize) -> Vec<Candidate> {
    if count > 64 {
        let mut all: Vec<Candidate> = candidates(logits).collect();
        if count < all.len() {
            all.select_nth_unstable_by(count, by_rank);
            all.truncate(count);
        }
        all.sort_unstable_by(by_rank);
        return all;
    }
    let mut leaders: Vec<Candidate> = Vec::with_capacity(count + 1);
    for candidate in candidates(logits) {
        let worst = leaders.last().filter(|_| leaders.len() == count);
        if worst.is_some_and(|worst| by_rank(&candidate, worst) != Ordering::Less) {
            continue;
        }
        let at = leaders.partition_point(|leader| by_rank(leader, &candidate) == Ordering::Less);
        leaders.insert(at, candidate);
        leaders.truncate(count);
    }
    leaders
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn here(logits: &[f32]) -> Logits {
        Logits::Here(logits.to_vec())
    }

    #[test]
    fn what_is_offered_limits_the_choice_and_not_the_probabilities() {
        let logits = [3.0, 1.0, 2.0, f32::NEG_INFINITY];
        let offered = [f32::NEG_INFINITY, 1.0, 2.0, f32::NEG_INFINITY];
        for temperature in [0.0, 0.01] {
            let all = sampler(temperature, 0, 1.0).choose(&here(&logits), 2).expect("a choice");
            let few = sampler(temperature, 0, 1.0).choose_among(Some(&offered), &logits, 2).expect("a choice");
            assert_eq!((all.id, few.id), (0, 2));
            assert_eq!(all.top, few.top);
            assert!((all.logprob - few.logprob - 1.0).abs() < 1e-6);
        }
    }

    fn sampler(temperature: f64, top_k: usize, top_p: f64) -> Sampler {
        Sampler::new(Sampling { temperature, top_k, top_p, min_p: 0.0 }, 7).expect("possible settings")
    }

    #[test]
    fn greedy_takes_the_best_and_the_lowest_id_among_equals() {
        let choice = sampler(0.0, 0, 1.0).choose(&here(&[1.0, 3.0, 3.0, 2.0]), 3).expect("choice");
        assert_eq!(choice.id, 1);
        assert_eq!(choice.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2, 3]);
        let total: f64 = [1.0f64, 3.0, 3.0, 2.0].iter().map(|x| x.exp()).sum();
        assert!((choice.logprob - (3.0 - total.ln())).abs() < 1e-6);
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error() {
        for bad in [f32::NAN, f32::INFINITY] {
            let error = sampler(0.0, 0, 1.0).choose(&here(&[0.0, bad]), 0).expect_err("not a number");
            assert!(error.to_string().contains("token 1"), "{error}");
        }
        assert!(sampler(0.0, 0, 1.0).choose(&here(&[f32::NEG_INFINITY]), 0).is_err());
        assert!(sampler(1.0, 0, 1.0).choose(&here(&[]), 0).is_err());
    }

    #[test]
    fn impossible_settings_are_an_error() {
        for (temperature, top_p, min_p) in
            [(-1.0, 1.0, 0.0), (f64::NAN, 1.0, 0.0), (1.0, 0.0, 0.0), (1.0, 1.0, 1.5), (1.0, 1.0, f64::NAN)]
        {
            assert!(Sampler::new(Sampling { temperature, top_k: 0, top_p, min_p }, 0).is_err());
        }
    }

    #[test]
    fn a_seed_gives_the_same_tokens_again() {
        let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32).collect();
        let run = || {
            let mut sampler = sampler(1.0, 0, 1.0);
            (0..20).map(|_| sampler.choose(&here(&logits), 0).expect("choice").id).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        assert!(run().iter().any(|&id| id != run()[0]));
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let logits = [0.0, 2f32.ln(), 5f32.ln()];
        let mut sampler = sampler(1.0, 0, 1.0);
        let mut counts = [0i32; 3];
        for _ in 0..8000 {
            counts[sampler.choose(&here(&logits), 0).expect("choice").id as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([1000, 2000, 5000]) {
            assert!((count - expected).abs() < 200, "{counts:?}");
        }
    }

    #[test]
    fn many_improbable_tokens_count_for_top_p_though_none_of_them_is_sorted() {
        // Beside 1 and 0.1 stand 9,998 of 0.000009: 0.9 of all is more than the first alone.
        let logits: Vec<f32> =
            [0.0, 0.1f32.ln()].into_iter().chain(std::iter::repeat_n(0.9e-5f32.ln(), 9998)).collect();
        let mut sampler = sampler(1.0, 0, 0.9);
        let ids: std::collections::BTreeSet<u32> =
            (0..500).map(|_| sampler.choose(&here(&logits), 0).expect("choice").id).collect();
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn top_k_top_p_and_min_p_cut_the_tail() {
        let logits = [4f32.ln(), 3f32.ln(), 2f32.ln(), 1f32.ln()];
        let seen = |mut sampler: Sampler| {
            let ids: std::collections::BTreeSet<u32> =
                (0..300).map(|_| sampler.choose(&here(&logits), 0).expect("choice").id).collect();
            ids.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(seen(sampler(1.0, 2, 1.0)), [0, 1]);
        assert_eq!(seen(sampler(1.0, 0, 0.65)), [0, 1]);
        assert_eq!(seen(sampler(1.0, 0, 0.05)), [0]);
        assert_eq!(seen(sampler(1.0, 0, 1.0)), [0, 1, 2, 3]);
        let min_p = |temperature, min_p| {
            seen(Sampler::new(Sampling { temperature, top_k: 0, top_p: 1.0, min_p }, 7).expect("possible"))
        };
        assert_eq!(min_p(1.0, 0.45), [0, 1, 2]);
        assert_eq!(min_p(1.0, 0.76), [0]);
        // At half the temperature probabilities are squared: 16, 9, 4, 1.
        assert_eq!(min_p(0.5, 0.5), [0, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_best_are_those_of_a_full_sort(logits in proptest::collection::vec(-3i8..3, 1..200), count in 1usize..150) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let mut all: Vec<Candidate> = candidates(&logits).collect();
            all.sort_by(by_rank);
            all.truncate(count);
            let ids = |list: Vec<Candidate>| list.into_iter().map(|c| c.id).collect::<Vec<_>>();
            prop_assert_eq!(ids(best(&logits, count)), ids(all));
        }
    }
}
