# bash completion for atelier-backup
_atelier_backup() {
  local IFS=$'\n'
  # Colons are part of our words; nothing typed is evaluated.
  mapfile -t COMPREPLY < <(atelier-backup complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)
  ((${#COMPREPLY[@]})) || compopt -o default
}
complete -F _atelier_backup atelier-backup
