"""What `ansible-doc edge_streamer.device.deploy` shows; the work is the action plugin's of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy
short_description: Makes a bundle the talking release of a board
description:
  - Runs C(edge-streamer deploy) on the controller, over the ssh that the inventory describes. It sends what the board
    lacks, makes the environment there, proves the bundle on it, switches, and waits for the verdict.
  - Only what is missing travels, what was cut off goes on, and what is live and confirmed already changes nothing.
  - Of the inventory, C(ansible_host), C(ansible_user), C(ansible_port), C(ansible_ssh_private_key_file) and
    C(ansible_ssh_common_args) and its kin hold. Host keys are compared always, and no password is used.
  - Privilege escalation of Ansible is not used; see O(system).
version_added: 0.1.0
author:
  - Edge Streamer contributors (@edge-streamer)
options:
  bundle:
    description: The bundle's folder or archive, on the controller. As all files here, a path from / on.
    type: path
    required: true
  wheels:
    description: The board's environment, on the controller, made by C(edge-streamer deploy --make-wheels).
    type: path
    required: true
  settings:
    description: The words of C(edge-streamer run) there, as TOML, with C(bundle = "bundle").
    type: path
  engine:
    description: What computes there.
    type: str
  name:
    description: What to call the release. The default is the bundle's name.
    type: str
  key:
    description: Sign the release with these private keys, for boards with keys.
    type: list
    elements: path
  passphrase_file:
    description: The first line of it is the keys' passphrase.
    type: path
  allow_downgrade:
    description: On a board with keys, an older version than it has used, on purpose.
    type: bool
    default: false
  budget:
    description: Not switched to where a profile on the board breaks a bound of this file.
    type: path
  profile_units:
    description: Units of that profile; 0 is none.
    type: int
  golden_units:
    description: Replay the bundle's golden units there before the switch.
    type: bool
    default: true
  units:
    description: Good units in a row that prove the release.
    type: int
  within:
    description: Seconds from the first unit on, in which it has to be proven.
    type: float
  misses:
    description: Share of those units that may be late, failed or skipped.
    type: float
  system:
    description: A service of the system. Log in as root, or allow sudo without a password.
    type: bool
    default: false
  service:
    description: Install and restart the service. Where it is false, something else starts the runs.
    type: bool
    default: true
  wait:
    description: Seconds to wait for the verdict where O(service=false).
    type: int
  root:
    description: Where releases lie on the board.
    type: str
  board_python:
    description: The board's own Python.
    type: str
  serial:
    description: The serial number of the board that is meant; another one is refused.
    type: str
  verify:
    description: Change nothing, and fail unless this bundle is live there and its run tells that it is healthy.
    type: bool
    default: false
  command:
    description:
      - What starts edge-streamer on the controller. The default is that of Ansible's own Python, else that on PATH.
    type: list
    elements: str
attributes:
  check_mode:
    description: Looks at the board and says what would be sent.
    support: full
  diff_mode:
    description: Shows the release that is current before and after.
    support: full
"""

EXAMPLES = r"""
- name: Deploy a bundle
  edge_streamer.device.deploy:
    bundle: "{{ inventory_dir }}/my-bundle"
    wheels: "{{ inventory_dir }}/wheels-3.10"
    settings: "{{ inventory_dir }}/talk.toml"
    budget: "{{ inventory_dir }}/budget.toml"

- name: Look whether it is live and healthy
  edge_streamer.device.deploy:
    bundle: "{{ inventory_dir }}/my-bundle"
    wheels: "{{ inventory_dir }}/wheels-3.10"
    settings: "{{ inventory_dir }}/talk.toml"
    verify: true
"""

RETURN = r"""
release:
  description: The release's id on the board.
  returned: when the board was reached
  type: str
  sample: 0123456789abcdef
state:
  description: How it stands, C(confirmed), C(current), C(would send), C(on trial), C(not switched to),
    C(gone back from), C(not live) or C(not healthy).
  returned: when the board was reached
  type: str
  sample: confirmed
reason:
  description: Why it is not live.
  returned: when the board was reached
  type: str
files:
  description: Files that were sent, or would be.
  returned: when the board was reached
  type: int
sent:
  description: Bytes of those files.
  returned: when the board was reached
  type: int
root:
  description: Where releases lie on the board.
  returned: when the board was reached
  type: str
device:
  description: Architecture, Python, glibc, Jetson Linux, serial number, free bytes and the release before.
  returned: when the board was reached
  type: dict
profile:
  description: What the profile on the board measured.
  returned: when the board was reached
  type: dict
log:
  description: The newest lines of the service's log, where the release was gone back from.
  returned: when the board was reached
  type: list
  elements: str
status:
  description: The exit status of C(edge-streamer deploy).
  returned: always
  type: int
"""
