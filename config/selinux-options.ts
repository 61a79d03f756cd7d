import { choice, flag, integer, section } from './option.ts';

export const selinux = section('Labels of pods, their files and volumes.', {
  mode: choice(
    ['auto', 'on', 'off'],
    'auto',
    'auto: pods are labelled where the node has SELinux enabled and a policy with contexts of containers; on: the daemon does not start without; off: no labels, also where pods request them.',
  ),
  category_range: integer(
    1024,
    { min: 2, max: 1024 },
    'Pods without a level of their own get two categories below this number that no other pod has.',
  ),
  disable_for_host_network: flag(
    false,
    "Containers on the node's network have no label of their process, as by default in CRI-O.",
  ),
});
