;; W-05: starts with more memory than its binding gives
;; outcome: load memory
;; says: KiB of memory
;; cost: quick

;;@memory
(memory (export "memory") 33)
