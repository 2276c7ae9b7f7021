//! The classifiers that tell a text's label. Each is a component with an accuracy of its own: it is never that of a model
//! which answers.

use super::landmarks::Landmarks;
use super::logistic::{Examples, Logistic, Row, inner};
use super::terms::Terms;
use crate::error::{Context, Result, bail, usage};
use crate::memory::Embed;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a classifier looks at, and how.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ClassifierKind {
    /// The label whose examples' mean embedding is nearest by cosine.
    Centroid,
    /// Logistic regression on the embedding, as seen from landmarks.
    Embedding,
    /// Logistic regression on words and pairs of words (TF-IDF); needs no encoder.
    Lexical,
    /// Logistic regression on both.
    LexicalEmbedding,
    /// Of the logistic regressions the one that cross-validation on the train split finds best: words tell labels apart
    /// only where there are examples enough to learn them from.
    #[default]
    Auto,
}

impl ClassifierKind {
    /// All that are one thing.
    pub const ALL: [Self; 4] = [Self::Centroid, Self::Embedding, Self::Lexical, Self::LexicalEmbedding];

    /// The name used on the command line, in tables and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Centroid => "centroid",
            Self::Embedding => "embedding",
            Self::Lexical => "lexical",
            Self::LexicalEmbedding => "lexical_embedding",
            Self::Auto => "auto",
        }
    }

    /// Whether it looks at embeddings.
    #[must_use]
    pub fn embeds(self) -> bool {
        self != Self::Lexical
    }

    fn reads_words(self) -> bool {
        matches!(self, Self::Lexical | Self::LexicalEmbedding)
    }
}

/// Labelled texts to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    texts: Vec<String>,
    /// In alphabetical order.
    labels: Vec<String>,
    /// The label of each text.
    classes_of: Vec<usize>,
    /// The embedding of each text, where there is an encoder.
    vectors: Option<Vec<Vec<f32>>>,
}

impl Labelled {
    /// From (text, label) pairs; `embed` embeds them, for the classifiers that look at embeddings.
    pub fn new(pairs: &[(String, String)], embed: Option<&dyn Embed>) -> Result<Self> {
        if pairs.is_empty() {
            return Err(usage(
                "training the domain classifier: the train split has no labelled sample; add some, or leave the \
                 hybrid-specialist router out",
            ));
        }
        let texts: Vec<&str> = pairs.iter().map(|(text, _)| text.as_str()).collect();
        let vectors = embed.map(|embed| embed_all(embed, &texts)).transpose()?;
        let index: BTreeMap<&str, usize> = pairs.iter().map(|(_, label)| (label.as_str(), 0)).collect();
        let labels: Vec<String> = index.into_keys().map(str::to_owned).collect();
        let classes_of = pairs.iter().filter_map(|(_, label)| labels.binary_search(label).ok()).collect();
        Ok(Self { texts: texts.into_iter().map(str::to_owned).collect(), labels, classes_of, vectors })
    }

    /// The labels, in alphabetical order.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }
}

fn embed_all(embed: &dyn Embed, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
    let vectors = embed.embed(texts).context("embedding the train split for the domain classifier")?;
    if vectors.len() != texts.len() {
        bail!("embedding the train split: {} vectors came back for {} texts", vectors.len(), texts.len());
    }
    Ok(vectors)
}

/// A classifier, trained on the train split only; deterministic.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    kind: ClassifierKind,
    labels: Vec<String>,
    model: Model,
}

/// A prior, and what cross-validation on the training texts thinks of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The prior's variance.
    pub variance: f64,
    /// Mean −ln(probability of the right label) over held-out texts; `None` where there are too few to hold out any.
    pub log_loss: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
enum Model {
    /// A unit vector for each label, and the factor of the cosines that makes probabilities of them.
    Centroids {
        centres: Vec<Vec<f64>>,
        sharpness: f64,
    },
    Logistic {
        reader: Reader,
        regression: Logistic,
        choice: Choice,
    },
}

impl Classifier {
    /// Trains on labelled texts.
    pub fn train(kind: ClassifierKind, examples: &Labelled) -> Result<Self> {
        if kind == ClassifierKind::Auto {
            return Self::best(examples);
        }
        let Labelled { labels, classes_of, .. } = examples;
        let vectors = match (&examples.vectors, kind.embeds()) {
            (Some(vectors), true) => Some(vectors),
            (None, true) => bail!("the classifier {} needs the texts' embeddings", kind.name()),
            (_, false) => None,
        };
        let model = if kind == ClassifierKind::Centroid {
            centroids(vectors.map_or(&[], Vec::as_slice), classes_of, labels.len())
        } else {
            let texts: Vec<&str> = examples.texts.iter().map(String::as_str).collect();
            let wide: Option<Vec<Vec<f64>>> = vectors.map(|vectors| vectors.iter().map(|v| widen(v)).collect());
            let landmarks = wide.as_ref().map(|wide| Landmarks::learn(wide, classes_of));
            let dense = match (&landmarks, &wide) {
                (Some(landmarks), Some(wide)) => wide.par_iter().map(|vector| landmarks.features(vector)).collect(),
                _ => vec![Vec::new(); texts.len()],
            };
            let reads_words = kind.reads_words();
            let inputs = Inputs { texts: &texts, dense: &dense, reads_words, classes_of, classes: labels.len() };
            let choice = inputs.choose();
            let all: Vec<usize> = (0..texts.len()).collect();
            let (terms, regression) = inputs.fit(&all, &[choice.variance], |_, _, _| ());
            Model::Logistic { reader: Reader { terms, landmarks }, regression, choice }
        };
        Ok(Self { kind, labels: labels.clone(), model })
    }

    /// What it looks at.
    #[must_use]
    pub fn kind(&self) -> ClassifierKind {
        self.kind
    }

    /// The labels that it can give, in alphabetical order.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How the prior was chosen; `None` for centroids.
    #[must_use]
    pub fn choice(&self) -> Option<Choice> {
        match self.model {
            Model::Centroids { .. } => None,
            Model::Logistic { choice, .. } => Some(choice),
        }
    }

    /// The best by cross-validation; where nothing can be held out, the one on embeddings.
    fn best(examples: &Labelled) -> Result<Self> {
        let mut best = Self::train(ClassifierKind::Embedding, examples)?;
        for kind in [ClassifierKind::Lexical, ClassifierKind::LexicalEmbedding] {
            let next = Self::train(kind, examples)?;
            let loss = |classifier: &Self| classifier.choice().and_then(|choice| choice.log_loss);
            if let (Some(ours), Some(known)) = (loss(&next), loss(&best))
                && ours < known
            {
                best = next;
            }
        }
        Ok(best)
    }

    /// The probability of each label for a text and, where it looks at embeddings, the text's embedding.
    #[must_use]
    pub fn probabilities(&self, text: &str, vector: Option<&[f32]>) -> Vec<f64> {
        match &self.model {
            Model::Centroids { centres, sharpness } => {
                let vector = widen(vector.unwrap_or_default());
                softmax(centres.iter().map(|centre| sharpness * inner(centre, &vector)))
            }
            Model::Logistic { reader, regression, .. } => regression.probabilities(&reader.row(text, vector)),
        }
    }

    /// The most probable label and its probability; of equals the first in alphabetical order.
    #[must_use]
    pub fn classify(&self, text: &str, vector: Option<&[f32]>) -> (&str, f64) {
        let named = self.labels.iter().map(String::as_str).zip(self.probabilities(text, vector));
        // There is a label: training refuses to learn from nothing.
        named.reduce(|best, next| if next.1 > best.1 { next } else { best }).unwrap_or_default()
    }
}

/// Makes features of a text.
#[derive(Debug, Clone, PartialEq)]
struct Reader {
    /// The terms that it knows, where it reads words.
    terms: Option<Terms>,
    /// Where it looks at embeddings from, where it does.
    landmarks: Option<Landmarks>,
}

impl Reader {
    /// Both parts have a length of about 1, so that one prior weighs them alike.
    fn row(&self, text: &str, vector: Option<&[f32]>) -> Row {
        let seen = |landmarks: &Landmarks| landmarks.features(&widen(vector.unwrap_or_default()));
        Row {
            dense: self.landmarks.as_ref().map(seen).unwrap_or_default(),
            sparse: self.terms.as_ref().map(|terms| terms.features(text)).unwrap_or_default(),
        }
    }
}

fn widen(vector: &[f32]) -> Vec<f64> {
    vector.iter().map(|&x| f64::from(x)).collect()
}

fn softmax(scores: impl Iterator<Item = f64>) -> Vec<f64> {
    let scores: Vec<f64> = scores.collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Factors of the cosines to choose from.
const SHARPNESSES: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// The mean direction of each label's examples. The factor is the one of the best log-likelihood of every example under
/// the centres that are left when it is taken out of its own.
fn centroids(vectors: &[Vec<f32>], classes_of: &[usize], classes: usize) -> Model {
    let vectors: Vec<Vec<f64>> = vectors.iter().map(|vector| widen(vector)).collect();
    let mut sums = vec![vec![0.0; vectors.first().map_or(0, Vec::len)]; classes];
    for (vector, &class) in vectors.iter().zip(classes_of) {
        sums[class].iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
    }
    let centres: Vec<Vec<f64>> = sums.iter().map(|sum| unit(sum.clone())).collect();
    let cosines: Vec<(Vec<f64>, usize)> = vectors
        .iter()
        .zip(classes_of)
        .map(|(vector, &class)| {
            let own = unit(sums[class].iter().zip(vector).map(|(sum, x)| sum - x).collect());
            let cosine =
                |(other, centre): (usize, &Vec<f64>)| inner(if other == class { &own } else { centre }, vector);
            (centres.iter().enumerate().map(cosine).collect(), class)
        })
        .collect();
    let likelihood = |sharpness: f64| -> f64 {
        let of = |(cosines, class): &(Vec<f64>, usize)| {
            softmax(cosines.iter().map(|cosine| sharpness * cosine))[*class].max(1e-12).ln()
        };
        cosines.iter().map(of).sum()
    };
    Model::Centroids { sharpness: best_of(&SHARPNESSES, &SHARPNESSES.map(likelihood)), centres }
}

/// The vector scaled to length 1; one of length 0 stays.
fn unit(mut vector: Vec<f64>) -> Vec<f64> {
    let length = inner(&vector, &vector).sqrt();
    if length > 0.0 {
        for x in &mut *vector {
            *x /= length;
        }
    }
    vector
}

/// Variances of the prior to choose from, rising: each fit begins at the one before it.
const VARIANCES: [f64; 4] = [1.0, 5.0, 25.0, 125.0];
/// The prior where there are too few examples to choose by.
const DEFAULT_VARIANCE: f64 = 10.0;
/// Parts of the cross-validation that chooses the prior.
const FOLDS: usize = 4;
/// Examples that the choice of the prior looks at, at most: the best prior hardly depends on their number.
const CHOICE_LIMIT: usize = 1024;

/// What a regression learns from.
struct Inputs<'a> {
    texts: &'a [&'a str],
    /// The dense features of each text; none where it looks at words alone.
    dense: &'a [Vec<f64>],
    reads_words: bool,
    classes_of: &'a [usize],
    classes: usize,
}

impl Inputs<'_> {
    /// Fits to some of the texts, once for each variance, each fit from the one before; `each` sees them all. Terms are
    /// learnt from these texts alone.
    fn fit(
        &self,
        of: &[usize],
        variances: &[f64],
        mut each: impl FnMut(usize, Option<&Terms>, &Logistic),
    ) -> (Option<Terms>, Logistic) {
        let texts: Vec<&str> = of.iter().map(|&i| self.texts[i]).collect();
        let terms = self.reads_words.then(|| Terms::learn(&texts));
        let rows: Vec<Row> = of.par_iter().map(|&i| self.row(i, terms.as_ref())).collect();
        let classes_of: Vec<usize> = of.iter().map(|&i| self.classes_of[i]).collect();
        let sparse = terms.as_ref().map_or(0, Terms::len);
        let examples = Examples { rows: &rows, classes_of: &classes_of, classes: self.classes, sparse };
        let mut fitted = Logistic::fit(examples, variances[0]);
        each(0, terms.as_ref(), &fitted);
        for (i, &variance) in variances.iter().enumerate().skip(1) {
            fitted = Logistic::fit_from(fitted, examples, variance);
            each(i, terms.as_ref(), &fitted);
        }
        (terms, fitted)
    }

    fn row(&self, i: usize, terms: Option<&Terms>) -> Row {
        let sparse = terms.map(|terms| terms.features(self.texts[i])).unwrap_or_default();
        Row { dense: self.dense[i].clone(), sparse }
    }

    /// The prior of the best log-likelihood of held-out texts: the strength that suits 400 examples of a label leaves 8 of
    /// them with almost uniform probabilities.
    fn choose(&self) -> Choice {
        // The n-th example of each label goes to part n mod FOLDS: balanced, and the same every time.
        let per_label = (CHOICE_LIMIT / self.classes.max(1)).max(FOLDS);
        let mut seen = vec![0; self.classes];
        let mut parts: Vec<(usize, usize)> = Vec::new();
        for (i, &class) in self.classes_of.iter().enumerate() {
            if seen[class] < per_label {
                parts.push((i, seen[class] % FOLDS));
            }
            seen[class] += 1;
        }
        if self.classes < 2 || seen.iter().any(|&count| count < 2) {
            return Choice { variance: DEFAULT_VARIANCE, log_loss: None };
        }
        let mut scores = [0.0; VARIANCES.len()];
        for held_out in 0..FOLDS {
            let of = |held: bool| parts.iter().filter(move |part| (part.1 == held_out) == held).map(|part| part.0);
            let (held, kept): (Vec<usize>, Vec<usize>) = (of(true).collect(), of(false).collect());
            self.fit(&kept, &VARIANCES, |choice, terms, fitted| {
                for &i in &held {
                    let share = fitted.probabilities(&self.row(i, terms))[self.classes_of[i]];
                    scores[choice] += share.max(1e-12).ln();
                }
            });
        }
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Choice { variance: best_of(&VARIANCES, &scores), log_loss: Some(-best / parts.len() as f64) }
    }
}

/// The choice of the highest score; of equals the first.
fn best_of(choices: &[f64], scores: &[f64]) -> f64 {
    let best = choices.iter().zip(scores).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(f64::NAN, |(&choice, _)| choice)
}
