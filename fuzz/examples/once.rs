//! Runs one target on one file: `cargo run -p fuzz --example once TARGET FILE`.

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, file] = &arguments[..] else { panic!("give a target and a file") };
    let target = fuzz::TARGETS.iter().find(|target| target.name == name).expect("the table has the target");
    let input = std::fs::read(file).expect("the file can be read");
    (target.run)(&input);
    println!("{name}: {} bytes, no claim broken", input.len());
}
