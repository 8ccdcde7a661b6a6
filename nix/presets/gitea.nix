args:
import ./forgejo.nix (
  args
  // {
    name = "gitea";
    title = "Gitea";
  }
)
