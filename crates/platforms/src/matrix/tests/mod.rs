mod data;
mod evaluation;
