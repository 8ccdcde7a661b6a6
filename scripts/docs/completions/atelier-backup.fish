# fish completion for atelier-backup
function __atelier_backup
    set -l words (commandline --tokenize --cut-at-cursor --current-process) (commandline --current-token --cut-at-cursor)
    atelier-backup complete -- $words[2..] 2>/dev/null
end
complete --command atelier-backup --no-files --arguments '(__atelier_backup)'
complete --command atelier-backup --condition '__fish_prev_arg_in --target --state-dir --manifest --path' --force-files
