//! Evolution of hyperparameters: which values to try next, given what was tried and how fit it was.
//!
//! Source: YOLOv5's two schemes. [`Scheme::Mutation`] is that of v7.0: one of the five fittest is chosen, the fitter the
//! likelier, and each gene is multiplied by clip(1 + mask x normal x uniform x 0.2, 0.3, 3). [`Scheme::Genetic`] is that of
//! later versions: a population with elites, tournaments, one-point crossover and uniform mutation, of the augmentation
//! alone. `docs/evolution.md` tells what the sources leave open. Bounds are those of [`KEYS`].
//! What to try next is a function of the seed and of what was tried, so an evolution that goes on needs its table alone.

use crate::hyp::{Hyp, KEYS};
use kinglet_data::Rng;
use serde::{Deserialize, Serialize};

/// Parents of a mutation are chosen among so many.
const PARENTS: usize = 5;
/// A gene mutates with this probability.
const MUTATION_PROBABILITY: f64 = 0.8;
/// Standard deviation of a mutation at most.
const MUTATION_SIGMA: f64 = 0.2;
/// Smallest and largest factor of a mutation.
const FACTOR: (f64, f64) = (0.3, 3.0);
/// Added to each weight, so that parents of no fitness can be chosen.
const LEAST_WEIGHT: f64 = 1e-6;
/// Members of a tournament.
const TOURNAMENT: usize = 3;
/// A gene of the genetic scheme mutates with this probability, by up to [`GENETIC_STEP`] of its range.
const GENETIC_PROBABILITY: f64 = 0.2;
const GENETIC_STEP: f64 = 0.1;
/// Between how many and how many of a population go on unchanged: a tenth of it.
const ELITES: (usize, usize) = (2, 5);
/// Digits of a value: as many as the table keeps, so that it tells all.
pub const DIGITS: usize = 5;
/// The range of the number of anchors, which files of YOLOv5 keep as a fraction.
const ANCHORS: (f64, f64) = (2.0, 10.0);

impl Gene {
    /// What becomes of a value that `change` changes, given the range: within it, with as many digits as are kept. A value
    /// that does not evolve stays.
    fn changed(&self, value: f64, change: impl FnOnce(f64, f64) -> f64) -> f64 {
        match self.range {
            Some((low, high)) => rounded(change(low, high).clamp(low, high)),
            None => value,
        }
    }
}

/// How children come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// One child a generation, a mutant of one of the fittest.
    Mutation,
    /// Generations of a population of this size; the augmentation evolves, and the fitness is mAP50.
    Genetic {
        /// Members.
        population: usize,
    },
}

/// A hyperparameter as evolution sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Gene {
    key: &'static str,
    /// Where it may go; nothing where it stays.
    range: Option<(f64, f64)>,
}

/// Values that were trained with, in the order of [`Evolution::keys`], and how fit they were.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The values.
    pub values: Vec<f64>,
    /// The fitness.
    pub fitness: f64,
}

/// An evolution: where it begins and what it has tried.
#[derive(Debug, Clone)]
pub struct Evolution {
    scheme: Scheme,
    seed: u64,
    genes: Vec<Gene>,
    /// Values to begin with, the first being those of the user.
    founders: Vec<Vec<f64>>,
    tried: Vec<Tried>,
}

/// Whether a key is of the augmentation: all from the colours to the pasting.
fn augments(key: &str) -> bool {
    let place = |name: &str| KEYS.iter().position(|k| k.key == name);
    (place("hsv_h")..=place("copy_paste")).contains(&place(key))
}

/// A value with [`DIGITS`] digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.*e}", DIGITS - 1).parse().expect("a number that was just written")
}

impl Evolution {
    /// Begins with `base`; the genetic scheme takes others beside it into its first population.
    pub fn new(scheme: Scheme, base: &Hyp, others: &[Hyp], seed: u64) -> Self {
        let mut genes: Vec<Gene> = KEYS
            .iter()
            .map(|k| Gene { key: k.key, range: k.evolves.filter(|_| scheme == Scheme::Mutation || augments(k.key)) })
            .collect();
        if base.anchors.is_some() {
            genes.push(Gene { key: "anchors", range: (scheme == Scheme::Mutation).then_some(ANCHORS) });
        }
        let values = |hyp: &Hyp| {
            let mut values: Vec<f64> = hyp.entries().into_iter().map(|(_, value)| rounded(value)).collect();
            values.extend(base.anchors.map(|n| hyp.anchors.unwrap_or(n) as f64));
            values
        };
        let first = values(base);
        let founders = std::iter::once(first.clone())
            .chain(others.iter().map(|hyp| {
                // What does not evolve is the user's, or fitness would compare unlike runs.
                let mut founder = values(hyp);
                let fixed = genes.iter().enumerate().filter(|(_, gene)| gene.range.is_none());
                fixed.for_each(|(i, _)| founder[i] = first[i]);
                founder
            }))
            .collect();
        Evolution { scheme, seed, genes, founders, tried: Vec::new() }
    }

    /// The keys, in the order of the values.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.genes.iter().map(|gene| gene.key)
    }

    /// Whether a key evolves, by its place in [`Self::keys`].
    pub fn evolves(&self, place: usize) -> bool {
        self.genes[place].range.is_some()
    }

    /// What was tried, in order.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// Trainings that so many generations take: those of elites are known.
    pub fn trainings(&self, generations: usize) -> usize {
        match self.scheme {
            Scheme::Mutation => generations,
            Scheme::Genetic { population } => match generations {
                0 => 0,
                n => population + (n - 1) * (population - elites(population)),
            },
        }
    }

    /// The place of the fittest of all that was tried; the first of equals.
    pub fn best(&self) -> Option<usize> {
        let fitter = |best: usize, i: usize| if self.tried[i].fitness > self.tried[best].fitness { i } else { best };
        (0..self.tried.len()).reduce(fitter)
    }

    /// Takes in what came of the values of [`Self::next_values`].
    pub fn tell(&mut self, tried: Tried) {
        self.tried.push(tried);
    }

    /// The fitness by which this scheme goes.
    pub fn fitness(&self, map50: f64, map50_95: f64) -> f64 {
        match self.scheme {
            Scheme::Mutation => crate::early_stopping::fitness(map50, map50_95),
            Scheme::Genetic { .. } => map50,
        }
    }

    /// Values as hyperparameters.
    ///
    /// # Panics
    /// If there are not as many as keys.
    pub fn hyp(&self, values: &[f64]) -> Hyp {
        assert_eq!(values.len(), self.genes.len(), "a value for each key");
        let mut hyp = Hyp::default();
        for (gene, &value) in self.genes.iter().zip(values) {
            match hyp.slot(gene.key) {
                Some(slot) => *slot = value,
                None => hyp.anchors = Some(value.round_ties_even() as usize),
            }
        }
        hyp
    }

    /// The values to try next.
    pub fn next_values(&self) -> Vec<f64> {
        let number = self.tried.len();
        if number == 0 {
            return self.founders[0].clone();
        }
        match self.scheme {
            Scheme::Mutation => self.mutant(&mut Rng::for_sample(self.seed, 0, number)),
            Scheme::Genetic { population } => self.member(population, number),
        }
    }

    fn mutant(&self, rng: &mut Rng) -> Vec<f64> {
        let mut order: Vec<usize> = (0..self.tried.len()).collect();
        order.sort_by(|&a, &b| self.tried[b].fitness.total_cmp(&self.tried[a].fitness));
        order.truncate(PARENTS);
        let least = order.iter().map(|&i| self.tried[i].fitness).fold(f64::INFINITY, f64::min);
        let weights: Vec<f64> = order.iter().map(|&i| self.tried[i].fitness - least + LEAST_WEIGHT).collect();
        let mut left = rng.uniform(0.0, weights.iter().sum());
        let chosen = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        let parent = &self.tried[order[chosen.unwrap_or(0)]].values;
        loop {
            let amount = rng.unit();
            let mutated = |(gene, &value): (&Gene, &f64)| {
                let factor = match rng.chance(MUTATION_PROBABILITY) {
                    true => (1.0 + rng.normal() * amount * MUTATION_SIGMA).clamp(FACTOR.0, FACTOR.1),
                    false => 1.0,
                };
                gene.changed(value, |_, _| value * factor)
            };
            let child: Vec<f64> = self.genes.iter().zip(parent).map(mutated).collect();
            if child != *parent {
                return child;
            }
        }
    }

    /// Number `number` of all that the genetic scheme trains.
    fn member(&self, population: usize, number: usize) -> Vec<f64> {
        if number < population {
            if let Some(founder) = self.founders.get(number) {
                return founder.clone();
            }
            let mut rng = Rng::for_sample(self.seed, 0, number);
            let anywhere = |(gene, &value): (&Gene, &f64)| gene.changed(value, |low, high| rng.uniform(low, high));
            return self.genes.iter().zip(&self.founders[0]).map(anywhere).collect();
        }
        let children = population - elites(population);
        let generation = (number - population) / children;
        let members = self.population(population, generation);
        let mut rng = Rng::for_sample(self.seed, 1 + generation, number);
        let mut parent = || -> &Tried {
            let mut best = members[rng.below(members.len())];
            for _ in 1..TOURNAMENT {
                let other = members[rng.below(members.len())];
                best = if other.fitness > best.fitness { other } else { best };
            }
            best
        };
        let (mother, father) = (parent(), parent());
        let cut = rng.below(self.genes.len() + 1);
        let crossed = mother.values[..cut].iter().chain(&father.values[cut..]);
        let mutated = |(gene, &value): (&Gene, &f64)| {
            gene.changed(value, |low, high| match rng.chance(GENETIC_PROBABILITY) {
                true => value + rng.uniform(-GENETIC_STEP, GENETIC_STEP) * (high - low),
                false => value,
            })
        };
        self.genes.iter().zip(crossed).map(mutated).collect()
    }

    /// The members of a generation, fittest first: its children, and the elites of the generation before.
    fn population(&self, size: usize, generation: usize) -> Vec<&Tried> {
        let sort = |members: &mut Vec<&Tried>| members.sort_by(|a, b| b.fitness.total_cmp(&a.fitness));
        let children = size - elites(size);
        let mut members: Vec<&Tried> = self.tried.iter().take(size).collect();
        sort(&mut members);
        for g in 0..generation {
            members.truncate(elites(size));
            members.extend(self.tried.iter().skip(size + g * children).take(children));
            sort(&mut members);
        }
        members
    }
}

/// How many of a population go on unchanged.
fn elites(population: usize) -> usize {
    (population / 10).clamp(ELITES.0, ELITES.1)
}

/// The smallest population that has elites, and children as well.
pub const LEAST_POPULATION: usize = ELITES.0 + 2;

#[cfg(test)]
mod tests {
    use super::*;

    const GENETIC: Scheme = Scheme::Genetic { population: 20 };

    /// A toy: 1 where the evolving genes are at a third of their ranges, falling off with the distance.
    fn toy(evolution: &Evolution, values: &[f64]) -> f64 {
        let distance = |(gene, value): (&Gene, &f64)| {
            let (low, high) = gene.range?;
            Some(((value - low) / (high - low) - 1.0 / 3.0).powi(2))
        };
        let all: Vec<f64> = evolution.genes.iter().zip(values).filter_map(distance).collect();
        1.0 - all.iter().sum::<f64>() / all.len() as f64
    }

    fn evolved(scheme: Scheme, seed: u64, trainings: usize) -> Evolution {
        // Away from zero, where a factor changes nothing.
        let mut base = Hyp::default();
        for k in KEYS {
            *base.slot(k.key).unwrap() = k.evolves.map_or(k.default, |(low, high)| low + 0.8 * (high - low));
        }
        let mut evolution = Evolution::new(scheme, &base, &[], seed);
        for _ in 0..trainings {
            let values = evolution.next_values();
            let fitness = toy(&evolution, &values);
            evolution.tell(Tried { values, fitness });
        }
        evolution
    }

    /// How much of the way from the start to the optimum, in fitness, an evolution has gone.
    fn progress(evolution: &Evolution, trainings: usize) -> f64 {
        let best = evolution.tried[..trainings].iter().map(|t| t.fitness).fold(f64::MIN, f64::max);
        let start = evolution.tried[0].fitness;
        (best - start) / (1.0 - start)
    }

    #[test]
    fn both_schemes_converge_on_a_toy() {
        for seed in 0..3 {
            for scheme in [Scheme::Mutation, GENETIC] {
                let evolution = evolved(scheme, seed, 600);
                let gone = [100, 600].map(|n| progress(&evolution, n));
                assert!(gone[0] < gone[1] && gone[1] > 0.9, "{scheme:?}, seed {seed}: {gone:?}");
            }
        }
    }

    #[test]
    fn all_values_stay_in_their_bounds_and_load_as_a_file() {
        for scheme in [Scheme::Mutation, GENETIC] {
            let evolution = evolved(scheme, 7, 200);
            for tried in &evolution.tried {
                for (gene, &value) in evolution.genes.iter().zip(&tried.values) {
                    let fixed = evolution.founders[0][evolution.keys().position(|key| key == gene.key).unwrap()];
                    let (low, high) = gene.range.unwrap_or((fixed, fixed));
                    assert!((low..=high).contains(&value), "{}: {value}", gene.key);
                }
                let hyp = evolution.hyp(&tried.values);
                assert_eq!(Hyp::parse(&hyp.to_yaml(), "h.yaml").unwrap(), hyp);
            }
        }
    }

    #[test]
    fn an_evolution_that_goes_on_tries_the_same() {
        for scheme in [Scheme::Mutation, GENETIC] {
            let whole = evolved(scheme, 3, 60);
            assert_ne!(whole.tried, evolved(scheme, 4, 60).tried, "the seed decides");
            for cut in [1, 19, 20, 21, 59] {
                let mut again = evolved(scheme, 3, 0);
                whole.tried[..cut].iter().for_each(|tried| again.tell(tried.clone()));
                assert_eq!(again.next_values(), whole.tried[cut].values, "{scheme:?} after {cut}");
            }
        }
    }

    #[test]
    fn values_have_no_more_digits_than_the_table() {
        let evolution = evolved(Scheme::Mutation, 1, 50);
        for &value in evolution.tried.iter().flat_map(|tried| &tried.values) {
            assert_eq!(format!("{value:.4e}").parse::<f64>().unwrap(), value);
        }
        assert_eq!(rounded(0.123_456_78), 0.12346);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn a_mutant_differs_by_factors_within_the_bounds_of_a_mutation() {
        let mut evolution = evolved(Scheme::Mutation, 5, 1);
        // Only one parent: its children are factors of it.
        let parent = evolution.tried[0].values.clone();
        let mut changed = 0;
        for number in 0..100 {
            let child = evolution.mutant(&mut Rng::new(number));
            assert_ne!(child, parent);
            changed += child.iter().zip(&parent).filter(|(a, b)| a != b).count();
        }
        let evolving = evolution.genes.iter().filter(|gene| gene.range.is_some()).count();
        let share = changed as f64 / (100 * evolving) as f64;
        assert!((share - MUTATION_PROBABILITY).abs() < 0.05, "{share}");
        // Of two parents, the one without fitness is hardly ever chosen.
        let mut poor = evolution.tried[0].clone();
        poor.values.iter_mut().for_each(|v| *v = 0.0);
        poor.fitness = 0.0;
        evolution.tell(poor);
        let lr0 = |number| evolution.mutant(&mut Rng::new(number))[0];
        assert!((0..200).all(|number| lr0(number) > 1e-4));
    }

    #[test]
    fn the_genetic_scheme_varies_the_augmentation_alone() {
        let evolution = evolved(GENETIC, 1, 40);
        let evolving: Vec<&str> = evolution.genes.iter().filter(|g| g.range.is_some()).map(|g| g.key).collect();
        assert_eq!((evolving.len(), evolving[0], evolving[12]), (13, "hsv_h", "copy_paste"));
        let lr0: Vec<f64> = evolution.tried.iter().map(|t| t.values[0]).collect();
        assert!(lr0.iter().all(|&v| v == lr0[0]));
        assert_eq!(evolution.trainings(1), 20);
        assert_eq!(evolution.trainings(3), 20 + 2 * 18);
        assert_eq!([4, 30, 50, 1000].map(elites), [2, 3, 5, 5]);
    }

    #[test]
    fn founders_come_first_and_share_what_does_not_evolve() {
        let other = Hyp { lr0: 0.5, degrees: 30.0, ..Hyp::default() };
        let mut evolution = Evolution::new(GENETIC, &Hyp::default(), &[other], 0);
        assert_eq!(evolution.hyp(&evolution.next_values()), Hyp::default());
        evolution.tell(Tried { values: evolution.next_values(), fitness: 0.1 });
        assert_eq!(evolution.hyp(&evolution.next_values()), Hyp { degrees: 30.0, ..Hyp::default() });
    }

    #[test]
    fn anchors_evolve_where_the_file_has_them() {
        let base = Hyp { anchors: Some(3), ..Hyp::default() };
        let evolution = Evolution::new(Scheme::Mutation, &base, &[], 0);
        assert_eq!(evolution.keys().last(), Some("anchors"));
        let mut values = evolution.next_values();
        *values.last_mut().unwrap() = 3.412;
        assert_eq!(evolution.hyp(&values).anchors, Some(3));
        assert!(!Evolution::new(Scheme::Mutation, &Hyp::default(), &[], 0).keys().any(|key| key == "anchors"));
    }
}
