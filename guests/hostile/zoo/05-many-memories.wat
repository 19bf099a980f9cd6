;; W-05: a hundred memories
;; outcome: refused
;; says: 100 memories, 1 are allowed
;; cost: quick

;;@memory
(memory (export "memory") 16)
;;@times 99 (memory 1)
