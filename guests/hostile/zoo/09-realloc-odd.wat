;; W-09: an allocator that points to an odd address
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@realloc
(if (i32.eq (local.get $align) (i32.const 4)) (then (return (i32.const 4097))))
