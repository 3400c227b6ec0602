#pragma once
// PEM text: certificates and keys as they come from peers and files. Pure functions but for the files
// that the configuration names. Neither key nor certificate is ever quoted.

#include <string>

namespace legated {

/// A text and what to call it.
struct Pem {
  std::string name;
  std::string text;
  std::string problem{};  // why it can't be read
};

/// The file of configuration key `key` if it has a path, else the text of a peer's `field`.
Pem load_pem(const char* field, const std::string& text, const char* key, const std::string& path);

/// Why these can't be used, naming the field or file; empty: they can. Texts may be empty, but
/// certificate and key only both.
std::string problem_with(const Pem& roots, const Pem& certificate, const Pem& key);

}  // namespace legated
