//! What each kernel does in a second: `cargo bench --bench kernels`, with a part of a name behind `--` for some of them.
//!
//! An item is one multiplication or addition, so that items a second are the usual GOP/s. Bytes are those that the file
//! has for the weights (for attention, those of the keys and values seen), so that bytes a second compare with the speed
//! of the memory. The inputs of a multiplication are quantised within it, as they are when a model runs.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use routergym_local::nn::bench::{
    Attention, Between, Encoding, InstructionSet, Multiplication, Mutual, Quantisation, Weights,
};
use std::fmt;

/// One token, a few at once, and a block of a prompt.
const ROWS: [usize; 3] = [1, 8, 128];
/// Where the instruction sets are compared.
const COMPARED: (usize, usize) = (1536, 8);
/// Hidden sizes of models of 1.5 and of 0.135 billion weights.
const SIZES: [usize; 2] = [1536, 576];

fn main() {
    divan::main();
}

/// A square matrix by rows of inputs.
struct Product {
    weights: Weights,
    size: usize,
    rows: usize,
    on: InstructionSet,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weights, size, rows, on } = self;
        write!(f, "{weights} {size}x{size}, {rows} rows, {on}")
    }
}

/// Every type at every size on the best instruction set, and at one size on the others.
fn products() -> Vec<Product> {
    let mut all = Vec::new();
    for weights in Weights::all() {
        for size in SIZES.into_iter().filter(|&size| weights.fits(size)) {
            for rows in ROWS {
                let on = InstructionSet::available();
                let on = on.into_iter().filter(|&on| on == InstructionSet::best() || (size, rows) == COMPARED);
                all.extend(on.map(|on| Product { weights, size, rows, on }));
            }
        }
    }
    all
}

#[divan::bench(args = products(), sample_count = 40, max_time = 0.5)]
fn multiplication(bencher: Bencher, product: &Product) {
    let Product { weights, size, rows, on } = *product;
    let multiplication = Multiplication::new(weights, size, size, rows).expect("weights that fit");
    bencher
        .counter(ItemsCount::new(2 * size * size * rows))
        .counter(BytesCount::new(multiplication.bytes()))
        .bench(|| multiplication.run(on));
}

/// Some rows or positions on an instruction set.
struct Block {
    depth: usize,
    rows: usize,
    on: InstructionSet,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.depth > 0 {
            write!(f, "depth {}, ", self.depth)?;
        }
        write!(f, "{} rows, {}", self.rows, self.on)
    }
}

fn blocks(depths: &[usize], rows: &[usize]) -> Vec<Block> {
    let pairs = depths.iter().flat_map(|&depth| rows.iter().map(move |&rows| (depth, rows)));
    pairs
        .flat_map(|(depth, rows)| InstructionSet::available().into_iter().map(move |on| Block { depth, rows, on }))
        .collect()
}

#[divan::bench(args = blocks(&[0], &ROWS), sample_count = 40, max_time = 0.5)]
fn input_quantisation(bencher: Bencher, block: &Block) {
    let [columns, _] = SIZES;
    let quantisation = Quantisation::new(block.rows, columns);
    bencher
        .counter(ItemsCount::new(block.rows * columns))
        .counter(BytesCount::of_many::<f32>(block.rows * columns))
        .bench(|| quantisation.run(block.on));
}

#[divan::bench(args = blocks(&[512, 1500], &[1, 128]), sample_count = 40, max_time = 0.5)]
fn attention(bencher: Bencher, block: &Block) {
    let attention = Attention::new(block.depth, block.rows);
    bencher
        .counter(ItemsCount::new(attention.operations()))
        .counter(BytesCount::new(attention.bytes()))
        .bench(|| attention.run(block.on));
}

/// The largest matrix of the sentence encoder.
#[divan::bench(args = blocks(&[0], &ROWS), sample_count = 40, max_time = 0.5)]
fn encoder_multiplication(bencher: Bencher, block: &Block) {
    let (outputs, columns) = (1536, 384);
    let encoding = Encoding::new(outputs, columns, block.rows);
    bencher.counter(ItemsCount::new(2 * outputs * columns * block.rows)).bench(|| encoding.run(block.on));
}

/// Eight texts of so many tokens.
#[divan::bench(args = blocks(&[0], &[32, 256]), sample_count = 40, max_time = 0.5)]
fn encoder_attention(bencher: Bencher, block: &Block) {
    let mutual = Mutual::new(8, block.rows);
    bencher.counter(ItemsCount::new(mutual.operations())).bench(|| mutual.run(block.on));
}

fn between(bencher: Bencher, rows: usize, run: impl Fn(&Between) + Sync) {
    let [width, _] = SIZES;
    let between = Between::new(rows, width).expect("tensors");
    bencher
        .counter(ItemsCount::new(rows * width))
        .counter(BytesCount::of_many::<f32>(rows * width))
        .bench(|| run(&between));
}

/// An item is a number of the input, here and below.
#[divan::bench(args = ROWS, sample_count = 40, max_time = 0.5)]
fn norm(bencher: Bencher, rows: usize) {
    between(bencher, rows, |between| drop(between.norm().expect("a norm")));
}

#[divan::bench(args = ROWS, sample_count = 40, max_time = 0.5)]
fn gate(bencher: Bencher, rows: usize) {
    between(bencher, rows, |between| drop(between.gate().expect("a gate")));
}

/// With a copy of the input.
#[divan::bench(args = ROWS, sample_count = 40, max_time = 0.5)]
fn rope(bencher: Bencher, rows: usize) {
    between(bencher, rows, |between| drop(between.turn().expect("turned heads")));
}
