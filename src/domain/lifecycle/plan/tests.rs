mod patience;
mod rounds;
