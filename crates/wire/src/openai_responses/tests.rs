mod properties;
mod requests;
