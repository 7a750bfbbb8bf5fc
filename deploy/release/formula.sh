#!/usr/bin/env bash
# Prints the Homebrew formula of the archives in the directory that it is called in. Which
# release they are of, and where they are read, is in VERSION and HOMEPAGE (build.sh).
set -euo pipefail
version="${VERSION#v}"

platform() { # what Homebrew calls the system and the processor, what Go calls them
  local file="breakwater_${version}_$3_$4.tar.gz"
  [ -e "$file" ] || return 0
  cat <<END
  on_$1 do
    on_$2 do
      url "$HOMEPAGE/releases/download/$VERSION/$file"
      sha256 "$(sha256sum "$file" | cut -d' ' -f1)"
    end
  end
END
}

cat <<END
class Breakwater < Formula
  desc "One registry name in front of a Harbor in every datacenter"
  homepage "$HOMEPAGE"
  version "$version"
  license "Apache-2.0"

$(platform macos arm darwin arm64)
$(platform macos intel darwin amd64)
$(platform linux arm linux arm64)
$(platform linux intel linux amd64)

  def install
    bin.install "breakwater"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/breakwater.bash" => "breakwater"
    zsh_completion.install "completions/breakwater.zsh" => "_breakwater"
    fish_completion.install "completions/breakwater.fish"
    pkgshare.install "fleet.example.yaml"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/breakwater version")
  end
end
END
