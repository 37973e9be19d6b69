//! Python applications in pools: the rules of WSGI to the letter, and applications that are not
//! ours, unmodified.

mod answers;
mod applications;
mod environ;
mod imports;
mod life;
mod reads;
mod validator;
