// Words that have a meaning of their own here: for the manual and for README.md.

export const glossary: Record<string, string> = {
  partial: 'A backup that was saved although something could not be read, is missing or shrank. It is named, and the exit code is 3.',
  overdue: "The service's timer should have run, its random delay included, and no backup was made.",
  unadopted:
    'Backups of a fresh install that has neither recovered the data of the install before it nor been adopted. They are saved, but "latest", dr and retention pass over them.',
  adopted: 'By atelier-backup adopt or by a recovery a person has decided which data is current: from then on the backups of this host count.',
  staging: 'The folder beside the live data into which a restore in place fetches everything before it stops a unit or touches live data.',
  proof:
    'What shows that a restore works: each file is there as the snapshot lists it, databases pass their check, the units run and healthCheck succeeds.',
}
