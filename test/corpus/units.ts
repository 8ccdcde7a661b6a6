// Awkward units of the real world, beside those of test/machine. `NAME` in them stands for the service's name, `DATA` for its folder.

export interface UnitShape {
  title: string
  /** Files of /etc/systemd/system, by name, or of elsewhere, by path. */
  files: Record<string, string>
  /** What the service declares. */
  units: string[]
  /** bash that brings the units into the state in which a backup finds them. */
  begin: string
  /** Units whose states are compared, beside the declared ones. */
  around?: string[]
  /** bash whose output is compared, too. */
  look?: string
}

const sleeps = '[Service]\nExecStart=sleep inf\n'

export const units: UnitShape[] = [
  {
    title: 'a oneshot that remains',
    files: { 'NAME.service': '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=touch /run/NAME.up\nExecStop=rm /run/NAME.up\n' },
    units: ['NAME.service'],
    begin: 'systemctl start NAME',
    look: 'ls /run/NAME.up',
  },
  {
    title: 'instances of a template, one of them idle',
    files: {
      'NAME@.service': '[Service]\nExecStart=sh -c "echo %i >/run/NAME.%i; sleep inf"\n',
      'NAME.target': '[Unit]\nWants=NAME@one.service NAME@a\\x2db:c.service\n',
    },
    units: ['NAME@one.service', 'NAME@a\\x2db:c.service', 'NAME@idle.service'],
    around: ['NAME.target'],
    begin: 'systemctl start NAME.target',
  },
  {
    title: 'a socket whose service is idle',
    files: { 'NAME.socket': '[Socket]\nListenStream=/run/NAME.sock\n', 'NAME.service': sleeps },
    units: ['NAME.service'],
    around: ['NAME.socket'],
    begin: 'systemctl start NAME.socket',
  },
  {
    title: 'a socket with an instance for each connection',
    files: {
      'NAME.socket': '[Socket]\nListenStream=/run/NAME.sock\nAccept=yes\n',
      'NAME@.service': '[Service]\nExecStart=cat\nStandardInput=socket\n',
    },
    units: ['NAME.socket'],
    begin: 'systemctl start NAME.socket',
  },
  {
    title: 'a path that starts it',
    files: {
      'NAME.path': '[Path]\nDirectoryNotEmpty=DATA/inbox\n',
      'NAME.service': '[Service]\nType=oneshot\nExecStart=sh -c "echo ran >>/run/NAME.ran"\n',
    },
    units: ['NAME.service'],
    around: ['NAME.path'],
    begin: 'mkdir DATA/inbox; touch /run/NAME.ran; systemctl start NAME.path',
    look: 'wc -l </run/NAME.ran',
  },
  {
    title: 'a timer that starts it',
    files: {
      'NAME.timer': '[Timer]\nOnActiveSec=1h\nOnCalendar=yearly\nPersistent=yes\n',
      'NAME.service': '[Service]\nType=oneshot\nExecStart=sh -c "echo ran >>/run/NAME.ran"\n',
    },
    units: ['NAME.service'],
    around: ['NAME.timer'],
    begin: 'touch /run/NAME.ran; systemctl start NAME.timer',
    look: 'wc -l </run/NAME.ran',
  },
  {
    title: 'what is bound to it',
    files: {
      'NAME.service': sleeps,
      'NAME-bound.service': `[Unit]\nBindsTo=NAME.service\nAfter=NAME.service\n${sleeps}`,
      'NAME-needs.service': `[Unit]\nRequisite=NAME.service\nAfter=NAME.service\n${sleeps}`,
      'NAME-idle.service': `[Unit]\nBindsTo=NAME-bound.service\n${sleeps}`,
    },
    units: ['NAME.service'],
    around: ['NAME-bound.service', 'NAME-needs.service', 'NAME-idle.service'],
    begin: 'systemctl start NAME; systemctl start NAME-bound NAME-needs',
  },
  {
    title: 'what runs only while it is needed',
    files: {
      'NAME.service': `[Unit]\nRequires=NAME-helper.service\nAfter=NAME-helper.service\n${sleeps}`,
      'NAME-helper.service': `[Unit]\nStopWhenUnneeded=yes\n${sleeps}`,
    },
    units: ['NAME.service'],
    around: ['NAME-helper.service'],
    begin: 'systemctl start NAME',
  },
  {
    title: 'a target that upholds it',
    files: { 'NAME.service': sleeps, 'NAME.target': '[Unit]\nUpholds=NAME.service\n' },
    units: ['NAME.service'],
    around: ['NAME.target'],
    begin: 'systemctl start NAME.target; sleep 0.5',
  },
  {
    title: 'slow to start, and to stop',
    files: {
      'NAME.service':
        '[Service]\nType=notify\nNotifyAccess=all\nExecStart=bash -c "sleep 2; systemd-notify --ready; trap \'sleep 1; exit 0\' TERM; sleep inf & wait"\nKillMode=mixed\n',
    },
    units: ['NAME.service'],
    begin: 'systemctl start NAME',
  },
  {
    title: 'counted as failed when it is stopped',
    files: { 'NAME.service': '[Service]\nExecStart=bash -c "trap \'exit 143\' TERM; sleep inf & wait"\nExecStopPost=false\nRestart=on-failure\n' },
    units: ['NAME.service'],
    begin: 'systemctl start NAME; sleep 0.3',
  },
  {
    title: 'it forks',
    files: { 'NAME.service': '[Service]\nType=forking\nPIDFile=/run/NAME.pid\nExecStart=bash -c "sleep inf & echo $! >/run/NAME.pid"\n' },
    units: ['NAME.service'],
    begin: 'systemctl start NAME',
  },
  {
    title: 'declared by another of its names',
    files: { 'NAME-real.service': `${sleeps}[Install]\nAlias=NAME.service\n` },
    units: ['NAME.service'],
    around: ['NAME-real.service'],
    begin: 'systemctl enable NAME-real 2>&1; systemctl start NAME-real',
  },
  {
    title: 'drop-ins of a person, and of set-property',
    files: { 'NAME.service': sleeps, 'NAME.service.d/override.conf': '[Service]\nEnvironment=X=1\n' },
    units: ['NAME.service'],
    begin: 'systemctl start NAME; systemctl set-property --runtime NAME CPUWeight=77; systemctl set-property NAME TasksMax=55',
    look: 'systemctl show --property=CPUWeight,TasksMax,Environment,DropInPaths NAME',
  },
  {
    title: 'made by a generator',
    files: { '/etc/systemd/system-generators/NAME': '#!/bin/sh\nprintf "[Service]\\nExecStart=sleep inf\\n" >"$1/NAME.service"\n' },
    units: ['NAME.service'],
    begin: 'chmod 755 /etc/systemd/system-generators/NAME; systemctl daemon-reload; systemctl start NAME',
  },
  {
    title: 'linked from elsewhere',
    files: { '/opt/NAME.service': sleeps },
    units: ['NAME.service'],
    begin: 'systemctl link /opt/NAME.service 2>&1; systemctl start NAME',
  },
  {
    title: 'one that failed before, beside one that runs',
    files: { 'NAME.service': sleeps, 'NAME-broken.service': '[Service]\nExecStart=false\n' },
    units: ['NAME.service', 'NAME-broken.service'],
    begin: 'systemctl start NAME; systemctl start NAME-broken; sleep 0.3',
  },
  {
    title: 'what starts when it has stopped',
    files: { 'NAME.service': `[Unit]\nOnSuccess=NAME-after.service\n${sleeps}`, 'NAME-after.service': '[Service]\nType=oneshot\nExecStart=true\n' },
    units: ['NAME.service'],
    around: ['NAME-after.service'],
    begin: 'systemctl start NAME',
  },
  {
    title: 'a transient one, of systemd-run',
    files: {},
    units: ['NAME.service'],
    begin: 'systemd-run --quiet --unit=NAME sleep inf',
  },
]
